package packet

import (
	"encoding/binary"
	"net/netip"
)

// usualTTL is the TTL that Linux, and most of the world, begins with.
const usualTTL = 64

// dontFragment is set in every IPv4 packet that is built, as in those of path MTU discovery (RFC 1191).
const dontFragment = 0x4000

// Kinds of TCP options.
const (
	optionEnd        = 0
	optionNOP        = 1
	optionMSS        = 2
	optionScale      = 3
	optionSACK       = 4 // permitted; the blocks are another kind
	optionTimestamps = 8
)

// Append appends s to b, as a whole IP packet with its checksums. It must fit one: 65,535 bytes behind an
// IPv6 header, or an IPv4 header included.
func (s *Segment) Append(b []byte) []byte {
	start := len(b)
	header := TCPSize + s.Options.size()
	b = appendIP(b, s.Src.Addr(), s.Dst.Addr(), TCP, s.TTL, s.ID, header+len(s.Payload))
	tcp := len(b)
	b = binary.BigEndian.AppendUint16(b, s.Src.Port())
	b = binary.BigEndian.AppendUint16(b, s.Dst.Port())
	b = binary.BigEndian.AppendUint32(b, s.Seq)
	b = binary.BigEndian.AppendUint32(b, s.Ack)
	b = append(b, byte(header/4)<<4, byte(s.Flags))
	b = binary.BigEndian.AppendUint16(b, s.Window)
	b = append(b, 0, 0, 0, 0) // checksum, urgent pointer
	b = s.Options.append(b)
	b = append(b, s.Payload...)
	all := sum(pseudo(b[start:], TCP, len(b)-tcp), b[tcp:])
	binary.BigEndian.PutUint16(b[tcp+TCPChecksum:], ^fold(all))
	return b
}

// size returns how many bytes append appends.
func (o *Options) size() (n int) {
	if o.MSS != 0 {
		n += 4
	}
	if o.SACKPermitted {
		n += 2
	}
	if o.Timestamps {
		n += 10
	}
	if o.Scaled {
		n += 4
	}
	return (n + 3) &^ 3
}

// append appends the options in the order in which Linux has them, padded to whole words.
func (o *Options) append(b []byte) []byte {
	end := len(b) + o.size()
	if o.MSS != 0 {
		b = append(b, optionMSS, 4)
		b = binary.BigEndian.AppendUint16(b, o.MSS)
	}
	if o.SACKPermitted {
		b = append(b, optionSACK, 2)
	}
	if o.Timestamps {
		b = append(b, optionTimestamps, 10)
		b = binary.BigEndian.AppendUint32(b, o.TSVal)
		b = binary.BigEndian.AppendUint32(b, o.TSEcr)
	}
	if o.Scaled {
		b = append(b, optionNOP, optionScale, 3, o.WindowScale)
	}
	for len(b) < end {
		b = append(b, optionEnd)
	}
	return b
}

// AppendError appends an ICMP error, or with IPv6 addresses an ICMPv6 error, that quotes the beginning of a packet. It
// is what a router or host from sends to the one who sent the packet, and here for tests. How much is quoted is
// up to the caller: at least the IP header and 8 bytes (RFC 792), commonly all (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
func AppendError(b []byte, from, to netip.Addr, typ, code uint8, quoted []byte) []byte {
	start := len(b)
	proto := uint8(ICMPv6)
	if from.Is4() {
		proto = ICMP
	}
	b = appendIP(b, from, to, proto, usualTTL, 0, icmpSize+len(quoted))
	icmp := len(b)
	b = append(b, typ, code, 0, 0, 0, 0, 0, 0)
	b = append(b, quoted...)
	all := sum(0, b[icmp:])
	if proto == ICMPv6 { // RFC 4443 section 2.3
		all += pseudo(b[start:], proto, len(b)-icmp)
	}
	binary.BigEndian.PutUint16(b[icmp+2:], ^fold(all))
	return b
}

// appendIP appends the IP header of a packet that carries size bytes.
func appendIP(b []byte, src, dst netip.Addr, proto, ttl uint8, id uint16, size int) []byte {
	if src.Is4() {
		return appendIPv4(b, src.As4(), dst.As4(), proto, ttl, id, size)
	}
	return appendIPv6(b, src.As16(), dst.As16(), proto, ttl, size)
}

func appendIPv4(b []byte, src, dst [4]byte, proto, ttl uint8, id uint16, size int) []byte {
	start := len(b)
	b = append(b, 4<<4|IPv4Size/4, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(IPv4Size+size))
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, dontFragment)
	b = append(b, ttl, proto, 0, 0)
	b = append(b, src[:]...)
	b = append(b, dst[:]...)
	binary.BigEndian.PutUint16(b[start+IPv4Checksum:], ^fold(sum(0, b[start:])))
	return b
}

func appendIPv6(b []byte, src, dst [16]byte, proto, ttl uint8, size int) []byte {
	b = append(b, 6<<4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, proto, ttl)
	b = append(b, src[:]...)
	return append(b, dst[:]...)
}
