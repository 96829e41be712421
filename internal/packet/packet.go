// Package packet builds and reads the packets of a scan: IPv4, IPv6, TCP, ICMP and ICMPv6, without allocating.
//
// A SYN is a template from which one probe after another is made by patching a few fields. A Segment is any
// TCP segment together with its IP header. Parse reads what came from the network into a Datagram: a TCP
// segment, or an ICMP error and the packet that it quotes.
//
// Packets begin at the IP header. An IPv4 address is one that netip calls Is4, never a mapped one, in what is
// built and in what is read; source and destination of what is built are of one family, and their zones do not count.
package packet

import (
	"net/netip"
	"strings"
)

// Protocol numbers of IP.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Sizes of headers without options or extension headers, in bytes.
const (
	IPv4Size = 20 // RFC 791 section 3.1
	IPv6Size = 40 // RFC 8200 section 3
	TCPSize  = 20 // RFC 9293 section 3.1
	icmpSize = 8  // RFC 792, RFC 4443: of an error, before the packet that it quotes
)

// Where fields are in their header, in bytes.
const (
	IPv4ID       = 4
	IPv4Checksum = 10
	IPv4Dst      = 16
	IPv6Dst      = 24
	TCPSrcPort   = 0
	TCPDstPort   = 2
	TCPSeq       = 4
	TCPChecksum  = 16
)

// A Segment is a TCP segment (RFC 9293 section 3.1) and what its IP header says.
type Segment struct {
	Src, Dst netip.AddrPort
	TTL      uint8  // IPv6: the hop limit
	ID       uint16 // the IPv4 identification; IPv6 has none
	Flags    Flags
	Seq, Ack uint32
	Window   uint16 // as it is in the header, not scaled
	Options  Options
	Payload  []byte
}

// Options are those TCP options that handshakes have. The zero value is a header without options.
type Options struct {
	MSS           uint16 // RFC 9293 section 3.7.1; 0: no such option
	SACKPermitted bool   // RFC 2018 section 2
	Scaled        bool   // RFC 7323 section 2.2; WindowScale counts only with it
	WindowScale   uint8
	Timestamps    bool // RFC 7323 section 3.2; TSVal and TSEcr count only with it
	TSVal, TSEcr  uint32
}

// Flags are the control bits of TCP (RFC 9293 section 3.1).
type Flags uint8

// The control bits.
const (
	FlagFIN Flags = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
)

var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// String returns the flags' names, such as "SYN,ACK", or "none".
func (f Flags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}
