package payload

import "encoding/binary"

// rip asks for one route, which takes as many bytes as the answer; the whole table would take many more (RFC 2453,
// sections 3.6, 3.9.1 and 4). The route is to an address in 10/8 with 24 bits of the token, and the answer is the
// request with the metric filled in.
var rip = question{
	name: "rip", bits: 24,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, ripRequest, 2, 0, 0, 0, 2, 0, 0)
		b = binary.BigEndian.AppendUint32(b, ripAddress(token))
		return append(b, "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x10"...) // one host, no next hop, unreachable yet
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 24 && reply[0] == ripResponse && binary.BigEndian.Uint16(reply[4:]) == 2 &&
			binary.BigEndian.Uint32(reply[8:]) == ripAddress(token)
	},
}

const (
	ripRequest  = 1
	ripResponse = 2
)

func ripAddress(token uint64) uint32 { return 10<<24 | uint32(token)&(1<<24-1) }

// ripNG is the same for IPv6 (RFC 2080, sections 2.1 and 2.4.1), with the token in an address of the block for
// documentation.
var ripNG = question{
	name: "ripng", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, ripRequest, 1, 0, 0)
		b = binary.BigEndian.AppendUint64(b, ripNGNetwork)
		b = binary.BigEndian.AppendUint64(b, token)
		return append(b, 0, 0, 128, 16) // tag, one host, unreachable yet
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 24 && reply[0] == ripResponse && binary.BigEndian.Uint64(reply[4:]) == ripNGNetwork &&
			binary.BigEndian.Uint64(reply[12:]) == token
	},
}

const ripNGNetwork = 0x20010db8 << 32 // 2001:db8::/64

// gtp is an echo request of version 1, for control and user plane (3GPP TS 29.060, sections 6 and 7.2.1; TS
// 29.281, section 7.2.1). The echo request of version 2 would have to say how often we restarted, from which a
// peer may conclude that sessions are gone. The sequence number has 16 bits of the token.
var gtp = question{
	name: "gtp", bits: 16,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x32\x01\x00\x04\x00\x00\x00\x00"...) // version 1, GTP, with sequence number; echo request, no tunnel
		return append(binary.BigEndian.AppendUint16(b, uint16(token)), 0, 0)
	},
	answered: func(token uint64, reply []byte) bool {
		const echoResponse = 2
		return len(reply) >= 12 && reply[0]>>4 == 3 && reply[0]&2 != 0 && reply[1] == echoResponse &&
			binary.BigEndian.Uint16(reply[8:]) == uint16(token)
	},
}
