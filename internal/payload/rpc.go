package payload

import "encoding/binary"

// sunRPC calls procedure 0 of a program, which does nothing and which every program has (RFC 5531, sections 9 and
// 12.1). The transaction ID has 32 bits of the token. That the program or the version is missing is an answer too.
// Numbers of programs: portmapper RFC 1833, section 3; NFS and mountd RFC 1813, sections 2.1 and 5.1.
func sunRPC(program, version uint32) question {
	return question{
		name: "sunrpc", bits: 32,
		ask: func(b []byte, token uint64) []byte {
			const call, rpcVersion, null = 0, 2, 0
			for _, word := range [...]uint32{uint32(token), call, rpcVersion, program, version, null} {
				b = binary.BigEndian.AppendUint32(b, word)
			}
			return append(b, make([]byte, 16)...) // credentials and verifier: AUTH_NONE, no bytes
		},
		answered: func(token uint64, reply []byte) bool {
			const isReply = 1
			return len(reply) >= 12 && binary.BigEndian.Uint32(reply) == uint32(token) &&
				binary.BigEndian.Uint32(reply[4:]) == isReply && binary.BigEndian.Uint32(reply[8:]) <= 1
		},
	}
}

// rx asks a server of AFS for its version. The header is Rx's (OpenAFS, rx/rx_packet.h: struct rx_header): epoch
// and connection, which are repeated, call, sequence and serial numbers, type, flags, status, security, checksum,
// service.
var rx = question{
	name: "afs", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = binary.BigEndian.AppendUint64(b, token)
		b = append(b, make([]byte, 12)...)
		b = append(b, rxVersion, rxFromClient|rxLast)
		return append(b, make([]byte, 6)...)
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) > 28 && binary.BigEndian.Uint64(reply) == token &&
			reply[20] == rxVersion && reply[21]&rxFromClient == 0
	},
}

const (
	rxVersion    = 13 // a packet's type: RX_PACKET_TYPE_VERSION
	rxFromClient = 1  // a flag: RX_CLIENT_INITIATED
	rxLast       = 4  // a flag: RX_LAST_PACKET
)

// memberlist pings a node of Serf, Consul or Swarm that gossips without encryption (hashicorp/memberlist, net.go:
// pingMsg, ackResp). Type 0 and a MessagePack map; a ping for no node in particular is everyone's. The
// acknowledgement has the sequence number.
var memberlist = question{
	name: "memberlist", bits: 32,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x00\x82\xa4Node\xa0\xa5SeqNo\xce"...)
		return binary.BigEndian.AppendUint32(b, uint32(token))
	},
	answered: func(token uint64, reply []byte) bool {
		const ack = 2
		message := firstOfCompound(reply)
		if len(message) == 0 || message[0] != ack {
			return false
		}
		number, ok := sequenceNumber(message[1:])
		return ok && number == uint64(uint32(token))
	},
}

// firstOfCompound returns the first message of several in one datagram (type 7: how many, their lengths, the
// messages). News go along with an acknowledgement, behind it.
func firstOfCompound(b []byte) []byte {
	const compound = 7
	if len(b) < 2 || b[0] != compound {
		return b
	}
	return b[min(len(b), 2+2*int(b[1])):]
}

// sequenceNumber reads SeqNo of a MessagePack map: an acknowledgement has it beside Payload, which is empty.
func sequenceNumber(b []byte) (n uint64, ok bool) {
	const key = "\xa5SeqNo"
	for i := 0; i+len(key) < len(b) && i < 32; i++ {
		if string(b[i:i+len(key)]) == key {
			return packedUint(b[i+len(key):])
		}
	}
	return 0, false
}

// packedUint reads an unsigned integer of MessagePack: one byte below 128, or 0xcc to 0xcf and 1, 2, 4 or 8 bytes.
func packedUint(b []byte) (n uint64, ok bool) {
	if b[0] < 0x80 {
		return uint64(b[0]), true
	}
	if b[0] < 0xcc || b[0] > 0xcf || len(b) <= 1<<(b[0]-0xcc) {
		return 0, false
	}
	for _, c := range b[1 : 1+1<<(b[0]-0xcc)] {
		n = n<<8 | uint64(c)
	}
	return n, true
}
