package payload

import "encoding/binary"

const quicSize = 1200

// quic asks for a version that is reserved for being unknown (RFC 9000, section 15), so that the server lists its
// own (RFC 8999, section 6). Servers answer datagrams of 1,200 bytes or more only (RFC 9000, section 5.2.2), with
// a few bytes. The list brings back both connection IDs, each in the other's place: ours is the token.
var quic = question{
	name: "quic", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		start := len(b)
		b = append(b, 0xc3, 0x1a, 0x2a, 0x3a, 0x4a, 8) // long header, the version
		b = binary.BigEndian.AppendUint64(b, mix(token))
		b = binary.BigEndian.AppendUint64(append(b, 8), token)
		return appendNoise(b, token, start+quicSize-len(b))
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 27 && reply[0]&0x80 != 0 && binary.BigEndian.Uint32(reply[1:]) == 0 &&
			reply[5] == 8 && binary.BigEndian.Uint64(reply[6:]) == token &&
			reply[14] == 8 && binary.BigEndian.Uint64(reply[15:]) == mix(token)
	},
}

// dtls says hello in version 1.2 without a cookie: the server sends one and remembers nothing (RFC 6347, sections
// 4.1 and 4.2.1). Servers ought to repeat the record's number, but a good part of them count from zero: the shape
// counts.
var dtls = question{
	name: "dtls",
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x75"+ // handshake, DTLS 1.0, epoch 0, record 0
			"\x01\x00\x00\x69\x00\x00\x00\x00\x00\x00\x00\x69"+"\xfe\xfd"...) // ClientHello, whole; DTLS 1.2
		b = appendNoise(b, token, 32)
		return append(b, dtlsOffer...)
	},
	answered: func(_ uint64, reply []byte) bool {
		const alert, handshake = 21, 22
		const serverHello, helloVerifyRequest = 2, 3
		if len(reply) < 15 || reply[1] != 0xfe || reply[2] != 0xff && reply[2] != 0xfd {
			return false
		}
		switch reply[0] {
		case alert:
			return reply[13] <= 2
		case handshake:
			return reply[13] == serverHello || reply[13] == helloVerifyRequest
		}
		return false
	},
}

// dtlsOffer is what a ClientHello has after its random bytes: no session, no cookie, ciphers (RFC 5289, RFC 5288,
// RFC 6655 and RFC 7251 for CoAP), no compression, extensions (RFC 8422, RFC 5246, RFC 7627, RFC 5746).
const dtlsOffer = "\x00\x00" +
	"\x00\x14\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xc0\xac\xc0\xae\xc0\xa8\x00\x9c\xc0\x13\x00\x2f" + "\x01\x00" +
	"\x00\x2b" +
	"\x00\x0a\x00\x08\x00\x06\x00\x1d\x00\x17\x00\x18" + // groups: x25519, P-256, P-384
	"\x00\x0b\x00\x02\x01\x00" + // points: uncompressed
	"\x00\x0d\x00\x0c\x00\x0a\x04\x03\x05\x03\x08\x04\x04\x01\x02\x01" + // signatures
	"\x00\x17\x00\x00" + "\xff\x01\x00\x01\x00" // extended master secret, renegotiation
