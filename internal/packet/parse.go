package packet

import (
	"encoding/binary"
	"net/netip"
)

// A Datagram is a packet that says something to a scan. Its slices are parts of what was parsed, and valid as long as that.
type Datagram struct {
	// Segment is the TCP segment. Of an ICMP error it holds Src and Dst, without ports, TTL and ID.
	Segment
	Proto uint8 // TCP, ICMP or ICMPv6

	// Of an ICMP error, as RFC 792 and RFC 4443 number them. Type 0 means none.
	Type, Code uint8
	// Quoted is what the error is about: the packet as it was when it could go no further. It has addresses, TTL and
	// ID, the ports of TCP and UDP, TCP's Seq, the rest of the TCP header if the quote goes so far, and no payload.
	Quoted      Segment
	QuotedProto uint8

	ip    []byte // the packet without padding
	start int    // of what it carries
	whole bool   // neither cut short nor a fragment
}

// Parse reads the IP packet at the beginning of b into d and reports whether it says something to a scan: whether it is a TCP
// segment with a whole header, or an ICMP error that quotes the addresses of a packet and, of TCP and UDP,
// the 8 bytes more that RFC 792 promises. If it is not, d holds nothing of use.
//
// What the link padded the packet with is left out. A packet that was cut short is read as far as it goes; of a
// fragmented one only the first fragment says something. TCP options end where they are malformed.
// Checksums are not looked at: see ChecksumOK.
func Parse(b []byte, d *Datagram) bool {
	*d = Datagram{}
	d.ip, d.whole = clip(b)
	in, ok := readIP(d.ip, &d.Segment)
	if !ok {
		return false
	}
	d.Proto, d.start, d.whole = in.proto, in.start, d.whole && !in.fragment
	switch v4 := d.Src.Addr().Is4(); {
	case in.proto == TCP:
		return d.readSegment(d.ip[in.start:])
	case in.proto == ICMP && v4, in.proto == ICMPv6 && !v4:
		return d.readError(d.ip[in.start:])
	}
	return false
}

// ChecksumOK reports whether the checksums of IPv4 and of TCP, ICMP or ICMPv6 are right. What was cut short or fragmented
// cannot be verified: false.
//
// A wrong one proves damage only where the packet came over a wire. Packets of this machine and its neighbours on loopback,
// a veth pair or a bridge commonly bear half a checksum that the network card was to complete (TP_STATUS_CSUMNOTREADY
// in packet(7)), and are as good as any.
func (d *Datagram) ChecksumOK() bool {
	if !d.whole {
		return false
	}
	if d.ip[0]>>4 == 4 && fold(sum(0, d.ip[:d.start])) != 0xffff {
		return false
	}
	carried := d.ip[d.start:]
	all := sum(0, carried)
	if d.Proto != ICMP {
		all += pseudo(d.ip, d.Proto, len(carried))
	}
	return fold(all) == 0xffff
}

// clip returns the packet at the beginning of b as long as its header says, and whether b has all of it.
func clip(b []byte) (p []byte, whole bool) {
	size := 0
	switch {
	case len(b) >= IPv4Size && b[0]>>4 == 4:
		size = int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= IPv6Size && b[0]>>4 == 6:
		size = IPv6Size + int(binary.BigEndian.Uint16(b[4:]))
	}
	return b[:min(size, len(b))], size <= len(b)
}

// readSegment reads a TCP segment.
func (d *Datagram) readSegment(b []byte) bool {
	if len(b) < TCPSize {
		return false
	}
	header := headerSize(b)
	if header < TCPSize || header > len(b) {
		return false
	}
	d.readTCP(b)
	d.Payload = b[header:]
	return true
}

// readError reads an ICMP error. The lengths in the IP header of its quote are not asked: some systems quote them changed.
func (d *Datagram) readError(b []byte) bool {
	if len(b) < icmpSize || !isError(d.Proto, b[0]) {
		return false
	}
	d.Type, d.Code = b[0], b[1]
	quote := b[icmpSize:]
	in, ok := readIP(quote, &d.Quoted)
	if !ok || d.Quoted.Src.Addr().Is4() != d.Src.Addr().Is4() {
		return false
	}
	d.QuotedProto = in.proto
	quote = quote[in.start:]
	switch {
	case in.proto != TCP && in.proto != UDP:
		return true
	case len(quote) < 8:
		return false
	case in.proto == TCP:
		d.Quoted.readTCP(quote)
	default:
		d.Quoted.readPorts(quote)
	}
	return true
}

// isError reports whether a message of that type is an error that quotes a packet behind 8 bytes of its own.
func isError(proto, typ uint8) bool {
	if proto == ICMPv6 { // unreachable, too big, time exceeded, parameter problem: RFC 4443 section 3
		return 1 <= typ && typ <= 4
	}
	switch typ { // unreachable, source quench, redirect, time exceeded, parameter problem: RFC 792
	case 3, 4, 5, 11, 12:
		return true
	}
	return false
}

// readTCP reads the TCP header of which b has at least 8 bytes, as far as it goes.
func (s *Segment) readTCP(b []byte) {
	s.readPorts(b)
	s.Seq = binary.BigEndian.Uint32(b[TCPSeq:])
	if len(b) < TCPSize {
		return
	}
	s.Ack = binary.BigEndian.Uint32(b[8:])
	s.Flags = Flags(b[13])
	s.Window = binary.BigEndian.Uint16(b[14:])
	s.Options.read(b[TCPSize:min(max(TCPSize, headerSize(b)), len(b))])
}

// headerSize returns what a TCP header says of its size; b has its first 20 bytes.
func headerSize(b []byte) int { return int(b[12]>>4) * 4 }

// readPorts reads what TCP and UDP begin with.
func (s *Segment) readPorts(b []byte) {
	s.Src = netip.AddrPortFrom(s.Src.Addr(), binary.BigEndian.Uint16(b[TCPSrcPort:]))
	s.Dst = netip.AddrPortFrom(s.Dst.Addr(), binary.BigEndian.Uint16(b[TCPDstPort:]))
}

// read reads the options in b (RFC 9293 section 3.2) up to one that is malformed.
func (o *Options) read(b []byte) {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionNOP {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		o.set(b[0], b[2:b[1]])
		b = b[b[1]:]
	}
}

// set takes over one option, if it is one of Options and has that one's length.
func (o *Options) set(kind byte, data []byte) {
	switch {
	case kind == optionMSS && len(data) == 2:
		o.MSS = binary.BigEndian.Uint16(data)
	case kind == optionSACK && len(data) == 0:
		o.SACKPermitted = true
	case kind == optionScale && len(data) == 1:
		o.Scaled, o.WindowScale = true, data[0]
	case kind == optionTimestamps && len(data) == 8:
		o.Timestamps = true
		o.TSVal = binary.BigEndian.Uint32(data)
		o.TSEcr = binary.BigEndian.Uint32(data[4:])
	}
}
