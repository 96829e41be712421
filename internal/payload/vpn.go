package payload

import "encoding/binary"

// ike begins an exchange of IKE version 2 (RFC 7296, sections 1.2 and 3) with a proposal that must be refused:
// DES, MD5 and a group of 768 bits (RFC 8247 forbids all three). So the answer is a short notification, and
// nothing is kept there. Our SPI is the token.
var ike = question{name: "ike", bits: 64, ask: appendIKE, answered: ikeAnswers}

// ikeBehindNAT is the same where IKE shares the port with ESP: four zeros go before it (RFC 3948, section 2.2).
var ikeBehindNAT = question{
	name: "ike-nat-t", bits: 64,
	ask: func(b []byte, token uint64) []byte { return appendIKE(append(b, 0, 0, 0, 0), token) },
	answered: func(token uint64, reply []byte) bool {
		return len(reply) > 4 && binary.BigEndian.Uint32(reply) == 0 && ikeAnswers(token, reply[4:])
	},
}

const ikeHeader = 28

func appendIKE(b []byte, token uint64) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(b, token)
	b = append(b, make([]byte, 8)...)                             // the responder has no SPI yet
	b = append(b, 33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 0)     // SA follows; version 2.0, IKE_SA_INIT, initiator, message 0, length
	b = append(b, 34, 0, 0, 44, 0, 0, 0, 40, 1, 1, 0, 4)          // SA: KE follows; one proposal, IKE, four transforms
	b = append(b, 3, 0, 0, 8, 1, 0, 0, 2, 3, 0, 0, 8, 2, 0, 0, 1) // DES; HMAC-MD5 as PRF
	b = append(b, 3, 0, 0, 8, 3, 0, 0, 1, 0, 0, 0, 8, 4, 0, 0, 1) // HMAC-MD5-96; group 1
	b = append(b, 40, 0, 0, 8+96, 0, 1, 0, 0)                     // KE: nonce follows; group 1
	b = appendNoise(b, token, 96)
	b = append(b, 0, 0, 0, 4+32)
	b = appendNoise(b, mix(token), 32)
	binary.BigEndian.PutUint32(b[start+24:], uint32(len(b)-start))
	return b
}

// ikeAnswers takes an answer of version 2 (by its flag: response), and one of version 1, which has no such flag,
// from those who know no other.
func ikeAnswers(token uint64, reply []byte) bool {
	if len(reply) < ikeHeader || binary.BigEndian.Uint64(reply) != token {
		return false
	}
	switch reply[17] >> 4 {
	case 1:
		return true
	case 2:
		return reply[19]&0x20 != 0
	}
	return false
}

// l2tp asks for a tunnel (RFC 2661, sections 3.1, 4.4 and 6.1) with an attribute that must be understood and
// cannot be. So the answer is a refusal (section 4.2; StopCCN, 6.4), and there is no tunnel. It comes to our
// tunnel ID: 15 bits of the token, and never 0.
var l2tp = question{
	name: "l2tp", bits: 15,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\xc8\x02\x00\x4b\x00\x00\x00\x00\x00\x00\x00\x00"+ // control, 75 bytes, no tunnel, no session
			"\x80\x08\x00\x00\x00\x00\x00\x01"+ // SCCRQ
			"\x80\x08\x00\x00\x00\x02\x01\x00"+ // protocol 1.0
			"\x80\x08\x00\x00\x00\x09"...) // assigned tunnel ID
		b = binary.BigEndian.AppendUint16(b, tunnelID(token))
		return append(b, "\x80\x0b\x00\x00\x00\x07sonde"+ // host name
			"\x80\x0a\x00\x00\x00\x03\x00\x00\x00\x03"+ // framing
			"\x80\x0a\x00\x00\x7f\xff\x00\x00\x00\x00"+ // nobody knows this one
			"\x00\x08\x00\x00\x00\x0a\x00\x04"...) // receive window
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 12 && reply[0]&0xc8 == 0xc8 && reply[1]&0xf == 2 &&
			binary.BigEndian.Uint16(reply[4:]) == tunnelID(token)
	},
}

func tunnelID(token uint64) uint16 { return 1<<15 | uint16(token) }

// openVPN asks for a session as a client does: opcode 7 (P_CONTROL_HARD_RESET_CLIENT_V2), our session ID, nothing
// to acknowledge, packet 0. The server (opcode 8) acknowledges it with our ID. It forgets us within a minute, and
// from version 2.6 does not even remember; one with tls-auth or tls-crypt is silent. OpenVPN's doc/doxygen,
// "Network protocol".
var openVPN = question{
	name: "openvpn", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, 7<<3)
		b = binary.BigEndian.AppendUint64(b, token)
		return append(b, 0, 0, 0, 0, 0)
	},
	answered: func(token uint64, reply []byte) bool {
		if len(reply) < 10 || reply[0]>>3 != 8 {
			return false
		}
		id := 10 + 4*int(reply[9]) // behind the numbers of the packets that it acknowledges
		return reply[9] > 0 && len(reply) >= id+8 && binary.BigEndian.Uint64(reply[id:]) == token
	},
}
