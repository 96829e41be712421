package target

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Addresses as numbers. netip steps by one address at a time; a Space leaps.

// words returns an address as a 128-bit number; IPv4 has its 32 bits in lo.
func words(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// add returns the address n behind a, which the caller knows to exist.
func add(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	if n == 0 {
		return a
	}
	hi, lo := words(a)
	lo, carry := bits.Add64(lo, n, 0)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi+carry)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// distance returns how far b lies behind a, both of one span.
func distance(a, b netip.Addr) uint64 {
	_, alo := words(a)
	_, blo := words(b)
	return blo - alo
}

// count returns the number of addresses from first to last, false when it is 2^64 or more.
func count(first, last netip.Addr) (n uint64, ok bool) {
	fhi, flo := words(first)
	lhi, llo := words(last)
	lo, borrow := bits.Sub64(llo, flo, 0)
	hi, _ := bits.Sub64(lhi, fhi, borrow)
	n, carry := bits.Add64(lo, 1, 0)
	return n, hi == 0 && carry == 0
}
