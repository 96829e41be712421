package sock

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ErrToMany refuses to ask a broadcast or multicast address: many would answer, or none.
var ErrToMany = errors.New("this is a broadcast or multicast address")

// An Echo is what a Ping heard: the answer to an echo request, or what the network said of one.
type Echo struct {
	Peer netip.Addr // whom the request went to; without a zone
	Seq  uint16     // of the request
	TTL  uint8      // of the packet that answered (IPv6: its hop limit); 0 when it cannot be told
	Data []byte     // what the reply brought back; belongs to the Ping, valid until the next Read
	// Refused says that no reply came but the error Refusal, about the request Seq to Peer.
	Refused bool
	Refusal ICMPError
}

// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443) messages.
const (
	icmpEchoReply    = 0
	icmpEchoRequest  = 8
	icmp6EchoRequest = 128
	icmp6EchoReply   = 129
)

// echoHeader is the size of an echo message before its data: type, code, checksum, identifier, sequence number.
const echoHeader = 8

// appendEcho appends an echo request to b. Its checksum is that of ICMP for IPv4; ICMPv6's covers the addresses
// and is the kernel's to fill in (RFC 3542 section 3.1).
func appendEcho(b []byte, v6 bool, id, seq uint16, data []byte) []byte {
	start := len(b)
	kind := byte(icmpEchoRequest)
	if v6 {
		kind = icmp6EchoRequest
	}
	b = append(b, kind, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, data...)
	if !v6 {
		binary.BigEndian.PutUint16(b[start+2:], checksum(b[start:]))
	}
	return b
}

// parseEcho reads an echo message of the given type.
func parseEcho(b []byte, kind byte) (id, seq uint16, data []byte, ok bool) {
	if len(b) < echoHeader || b[0] != kind || b[1] != 0 {
		return 0, 0, nil, false
	}
	return binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), b[echoHeader:], true
}

// skipIPv4 returns what is behind the IPv4 header of b (RFC 791 section 3.1), nil if it is none.
func skipIPv4(b []byte) []byte {
	const least = 20
	if len(b) < least || b[0]>>4 != 4 {
		return nil
	}
	n := int(b[0]&0xf) * 4
	if n < least || n > len(b) {
		return nil
	}
	return b[n:]
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
