package packet

import "encoding/binary"

// sum adds the 16-bit words of b to s, in the one's complement arithmetic of RFC 1071, of which fold makes
// the result. There 2^16 is 1, so two words are added at once, as a number of 32 bits.
func sum(s uint64, b []byte) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold returns the 16-bit sum; its complement is the checksum.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudo returns the sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) of size bytes that
// the packet ip carries.
func pseudo(ip []byte, proto uint8, size int) uint64 {
	addresses := ip[12:20]
	if ip[0]>>4 == 6 {
		addresses = ip[8:40]
	}
	return sum(uint64(proto)+uint64(size), addresses)
}
