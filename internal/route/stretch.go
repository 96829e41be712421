package route

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// A key is an address as a number. An IPv4 address has the place of its IPv6 form (RFC 4291 section 2.5.5.2), so
// that both families are in one row.
type key struct{ hi, lo uint64 }

func keyOf(a netip.Addr) key {
	if a.Is4() { // the same by a shorter way
		b := a.As4()
		return key{0, 0xffff<<32 | uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr is the address of a key: IPv4 where its place is one of IPv4's.
func (k key) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.AddrFrom16(b).Unmap()
}

func (k key) less(l key) bool { return k.hi < l.hi || k.hi == l.hi && k.lo < l.lo }

func (k key) compare(l key) int {
	switch {
	case k.less(l):
		return -1
	case l.less(k):
		return 1
	}
	return 0
}

// past returns the first key after a prefix, false if there is none.
func past(p netip.Prefix) (key, bool) {
	host := p.Addr().BitLen() - p.Bits() // bits that are free
	k := keyOf(p.Masked().Addr())
	var carry uint64
	switch {
	case host >= 128:
		return key{}, false
	case host >= 64:
		k.hi, carry = bits.Add64(k.hi, 1<<(host-64), 0)
	default:
		k.lo, carry = bits.Add64(k.lo, 1<<host, 0)
		k.hi, carry = bits.Add64(k.hi, 0, carry)
	}
	return k, carry == 0
}

// special are the prefixes that the kernel tells apart without a route or a rule that says so: broadcast and multicast
// (ip_route_output_key_hash_rcu), the scopes of IPv6 (ipv6_addr_type), and each family as such.
var special = []string{
	"0.0.0.0/0", "0.0.0.0/32", "224.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "fe80::/10", "fec0::/10", "ff00::/8",
}

// boundaries returns where the stretches begin that prefixes cut the row of addresses into, ascending.
func boundaries(cuts []netip.Prefix) []key {
	starts := make([]key, 1, 2*len(cuts)+2*len(special)+1)
	cut := func(p netip.Prefix) {
		starts = append(starts, keyOf(p.Masked().Addr()))
		if k, ok := past(p); ok {
			starts = append(starts, k)
		}
	}
	for _, s := range special {
		cut(netip.MustParsePrefix(s))
	}
	for _, p := range cuts {
		cut(p)
	}
	slices.SortFunc(starts, key.compare)
	return slices.Compact(starts)
}

// nested returns the prefixes of p's address of every length up to p's. By how many bits a destination has in common with each of
// this machine's addresses, its source is chosen (RFC 6724 section 5, rule 8).
func nested(p netip.Prefix) (all []netip.Prefix) {
	for n := 1; n <= p.Bits(); n++ {
		all = append(all, netip.PrefixFrom(p.Addr(), n))
	}
	return all
}

// find returns the number of the stretch that has k. There is no branch in its loop that a processor could guess wrong.
func find(starts []key, k key) int {
	first, n := 0, len(starts) // starts[first] <= k, and k is among the next n
	for n > 1 {
		half := n / 2
		start := &starts[first+half]
		_, below := bits.Sub64(k.lo, start.lo, 0)
		_, below = bits.Sub64(k.hi, start.hi, below)
		first += half &^ -int(below)
		n -= half
	}
	return first
}
