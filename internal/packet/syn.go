package packet

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Of a SYN's TCP header.
const (
	SYNSize  = TCPSize + 20 // with its options, in bytes
	SYNTSVal = TCPSize + 8  // where its TSVal is
)

// A SYN makes SYN segments that look like those of a Linux client: hosts and middleboxes drop bare ones. From
// one to the next only Fields differ; the rest is built once. It is read only, and may be shared.
type SYN struct {
	template [IPv6Size + SYNSize]byte
	tcp      int // where the TCP header begins: the size of the IP header
	// Sums of the constant part, folded: of the IPv4 header, and of TCP with its pseudo header.
	ipSum, tcpSum uint16
}

// Fields are what differs from one SYN to the next.
type Fields struct {
	Dst        netip.AddrPort // of the source's family
	SrcPort    uint16
	Seq, TSVal uint32
	ID         uint16 // the IPv4 identification; IPv6 has none
}

// NewSYN returns the template of the SYNs from src, which announce mss: the MTU of the way out less 40 bytes, with IPv6 less
// 60, or 0 for what a host assumes that is told nothing (RFC 9293 section 3.7.1). Each has 60 bytes, with IPv6 80.
func NewSYN(src netip.Addr, mss uint16) SYN {
	s, nowhere, assumed := SYN{tcp: IPv6Size}, netip.IPv6Unspecified(), uint16(1220)
	if src.Is4() {
		s, nowhere, assumed = SYN{tcp: IPv4Size}, netip.IPv4Unspecified(), 536
	}
	mss = cmp.Or(mss, assumed)
	segment := Segment{
		Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(nowhere, 0),
		TTL: usualTTL, Flags: FlagSYN, Window: window(mss),
		Options: Options{MSS: mss, SACKPermitted: true, Timestamps: true, Scaled: true, WindowScale: 7},
	}
	p := segment.Append(s.template[:0])
	tcp := p[s.tcp:]
	clear(tcp[TCPChecksum:][:2])
	s.tcpSum = fold(sum(pseudo(p, TCP, SYNSize), tcp))
	if s.tcp == IPv4Size {
		clear(p[IPv4Checksum:][:2])
		s.ipSum = fold(sum(0, p[:IPv4Size]))
	}
	return s
}

// window returns the first window that Linux offers: as many whole segments as 16 bits can tell, 64,240 bytes on Ethernet.
func window(mss uint16) uint16 { return 65535 / mss * mss }

// Append appends the packet with those fields to b.
func (s *SYN) Append(b []byte, f Fields) []byte {
	start := len(b)
	b = append(b, s.template[:s.tcp+SYNSize]...)
	p := b[start:]
	all := uint64(s.tcpSum)
	if s.tcp == IPv4Size {
		all += s.patchIPv4(p, f)
	} else {
		all += patchIPv6(p, f)
	}
	tcp := (*[SYNSize]byte)(p[s.tcp:])
	binary.BigEndian.PutUint16(tcp[TCPSrcPort:], f.SrcPort)
	binary.BigEndian.PutUint16(tcp[TCPDstPort:], f.Dst.Port())
	binary.BigEndian.PutUint32(tcp[TCPSeq:], f.Seq)
	binary.BigEndian.PutUint32(tcp[SYNTSVal:], f.TSVal)
	all += uint64(f.SrcPort) + uint64(f.Dst.Port()) + uint64(f.Seq) + uint64(f.TSVal)
	binary.BigEndian.PutUint16(tcp[TCPChecksum:], ^fold(all))
	return b
}

// patchIPv4 completes the IPv4 header of p, and returns the sum of the destination.
func (s *SYN) patchIPv4(p []byte, f Fields) uint64 {
	ip, dst := (*[IPv4Size]byte)(p), f.Dst.Addr().As4()
	binary.BigEndian.PutUint16(ip[IPv4ID:], f.ID)
	copy(ip[IPv4Dst:], dst[:])
	added := uint64(binary.BigEndian.Uint32(dst[:]))
	binary.BigEndian.PutUint16(ip[IPv4Checksum:], ^fold(uint64(s.ipSum)+uint64(f.ID)+added))
	return added
}

// patchIPv6 does the same for IPv6, whose header has no checksum (RFC 8200 section 3).
func patchIPv6(p []byte, f Fields) uint64 {
	ip, dst := (*[IPv6Size]byte)(p), f.Dst.Addr().As16()
	copy(ip[IPv6Dst:], dst[:])
	high, low := binary.BigEndian.Uint64(dst[:]), binary.BigEndian.Uint64(dst[8:])
	return high>>32 + high&0xffffffff + low>>32 + low&0xffffffff
}

// A Template is what a SYN has in common with the next, for a program that patches packets elsewhere, such as one in the kernel.
//
// It puts into the IP header the destination (IPv4Dst or IPv6Dst) and with IPv4 the identification (IPv4ID), and into the
// TCP header, which begins at IPv4Size or IPv6Size, the ports (TCPSrcPort, TCPDstPort), Seq (TCPSeq) and TSVal (SYNTSVal).
// In Packet they are zero, as the checksums are. A checksum is the complement of the one's complement sum (RFC 1071) of a
// partial sum and the 16-bit words put in: IPv4's (IPv4Checksum) of IPSum, destination and identification, TCP's
// (TCPChecksum) of TCPSum, destination, ports, Seq and TSVal. Sums are of words in network order; of words
// that are read with their bytes swapped they are the same, swapped (RFC 1071 section 2 (B)).
type Template struct {
	Packet []byte // belongs to the SYN, and must not be changed
	IPSum  uint16 // 0 with IPv6
	TCPSum uint16
}

// Template returns the constant part.
func (s *SYN) Template() Template {
	return Template{Packet: slices.Clip(s.template[:s.tcp+SYNSize]), IPSum: s.ipSum, TCPSum: s.tcpSum}
}
