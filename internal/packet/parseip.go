package packet

import (
	"encoding/binary"
	"net/netip"
)

// IPv6 extension headers (RFC 8200 section 4).
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
)

// inside is what an IP packet carries.
type inside struct {
	proto    uint8
	start    int  // in the packet
	fragment bool // there is more of it in other packets
}

// readIP reads the IP header at the beginning of b, IPv6's extension headers included. It returns false if b is no IP packet,
// has not the whole header, or is a fragment from further behind, which says nothing.
func readIP(b []byte, s *Segment) (in inside, ok bool) {
	switch {
	case len(b) >= IPv4Size && b[0]>>4 == 4:
		return readIPv4(b, s)
	case len(b) >= IPv6Size && b[0]>>4 == 6:
		return readIPv6(b, s)
	}
	return inside{}, false
}

func readIPv4(b []byte, s *Segment) (in inside, ok bool) {
	s.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
	s.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[IPv4Dst:])), 0)
	s.ID, s.TTL = binary.BigEndian.Uint16(b[IPv4ID:]), b[8]
	in.proto, in.start = b[9], int(b[0]&0xf)*4
	const more, offset = 0x2000, 0x1fff
	place := binary.BigEndian.Uint16(b[6:])
	in.fragment = place&more != 0
	return in, place&offset == 0 && in.start >= IPv4Size && in.start <= len(b)
}

func readIPv6(b []byte, s *Segment) (in inside, ok bool) {
	s.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
	s.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[IPv6Dst:])), 0)
	s.TTL = b[7]
	in.proto, in.start = b[6], IPv6Size
	for {
		switch in.proto {
		case hopByHop, routing, destination, fragment:
			if !in.skip(b[in.start:]) {
				return in, false
			}
		default:
			return in, true
		}
	}
}

// skip goes past the extension header at the beginning of b. It returns false if that is cut short, or says that b is a
// fragment from further behind.
func (in *inside) skip(b []byte) bool {
	const least = 8
	if len(b) < least {
		return false
	}
	size := least
	if in.proto == fragment { // RFC 8200 section 4.5: no length, and the offset is above three other bits
		place := binary.BigEndian.Uint16(b[2:])
		if place>>3 != 0 {
			return false
		}
		in.fragment = in.fragment || place&1 != 0
	} else {
		size += int(b[1]) * 8
	}
	in.proto, in.start = b[0], in.start+size
	return size <= len(b)
}
