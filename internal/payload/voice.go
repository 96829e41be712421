package payload

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// sip asks what the server can (RFC 3261, section 11), and with Max-Forwards 0 nobody but the server itself
// (16.3): the request goes no further. rport brings the answer to the port that asked (RFC 3581). Call-ID, which
// is repeated (8.2.6.2), is the token.
var sip = question{
	name: "sip", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "OPTIONS sip:sonde.invalid SIP/2.0\r\nVia: SIP/2.0/UDP sonde.invalid;rport;branch=z9hG4bK"...)
		b = appendHex(b, token)
		b = append(b, "\r\nMax-Forwards: 0\r\nFrom: <sip:sonde@sonde.invalid>;tag="...)
		b = appendHex(b, mix(token))
		b = append(b, "\r\nTo: <sip:sonde.invalid>\r\nCall-ID: "...)
		b = appendHex(b, token)
		return append(b, "\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"...)
	},
	answered: func(token uint64, reply []byte) bool {
		if !bytes.HasPrefix(reply, []byte("SIP/2.0 ")) {
			return false
		}
		var buf [16]byte
		return bytes.Equal(callID(reply), appendHex(buf[:0], token))
	},
}

// callID returns the value of the first Call-ID, or of its compact form (RFC 3261, section 7.3.3).
func callID(message []byte) []byte {
	for len(message) > 0 {
		var line []byte
		line, message, _ = bytes.Cut(message, []byte("\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		name = bytes.TrimSpace(name)
		if bytes.EqualFold(name, []byte("Call-ID")) || bytes.EqualFold(name, []byte("i")) {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// stun is a binding request (RFC 8489, sections 5 and 6.3.1). The magic cookie comes back, and so does the
// transaction ID of 96 bits: the token and 32 bits that follow from it.
var stun = question{
	name: "stun", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x00\x01\x00\x00\x21\x12\xa4\x42"...)
		return appendSTUN(b, token)
	},
	answered: func(token uint64, reply []byte) bool {
		var id [12]byte
		return len(reply) >= 20 && reply[0] == 1 && (reply[1] == 0x01 || reply[1] == 0x11) && // success, error
			binary.BigEndian.Uint32(reply[4:]) == 0x2112a442 && bytes.Equal(reply[8:20], appendSTUN(id[:0], token))
	},
}

func appendSTUN(b []byte, token uint64) []byte {
	b = binary.BigEndian.AppendUint64(b, token)
	return binary.BigEndian.AppendUint32(b, uint32(mix(token)))
}

// mgcp audits an endpoint without asking anything about it (RFC 3435, sections 2.3.10 and 3.2). The transaction's
// number has nine digits of the token; the answer begins with a code and that number (section 3.3).
var mgcp = question{
	name: "mgcp", bits: 29,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "AUEP "...)
		b = strconv.AppendUint(b, transaction(token), 10)
		return append(b, " *@sonde.invalid MGCP 1.0\r\n"...)
	},
	answered: func(token uint64, reply []byte) bool {
		if len(reply) < 13 || reply[3] != ' ' {
			return false
		}
		_, err := strconv.ParseUint(string(reply[:3]), 10, 16)
		var buf [9]byte
		number := strconv.AppendUint(buf[:0], transaction(token), 10)
		return err == nil && bytes.Equal(reply[4:13], number) && (len(reply) == 13 || reply[13] <= ' ')
	},
}

func transaction(token uint64) uint64 { return 100_000_000 + token&(1<<29-1) }

// iax2 pokes an exchange, which makes no call (RFC 5456, sections 6.7.1 and 8.1.1). The pong comes to our call
// number: 14 bits of the token, and never 0.
var iax2 = question{
	name: "iax2", bits: 14,
	ask: func(b []byte, token uint64) []byte {
		b = binary.BigEndian.AppendUint16(b, 1<<15|callNumber(token)) // a full frame
		b = append(b, make([]byte, 8)...)                             // to no call yet, time, sequence numbers
		return append(b, iaxControl, iaxPoke)
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 12 && reply[0]&0x80 != 0 && binary.BigEndian.Uint16(reply[2:])&0x7fff == callNumber(token) &&
			reply[10] == iaxControl && (reply[11] == iaxPong || reply[11] == iaxInvalid)
	},
}

const (
	iaxControl = 6 // a frame's type
	iaxPong    = 3
	iaxInvalid = 10
	iaxPoke    = 30
)

func callNumber(token uint64) uint16 { return 1<<14 | uint16(token)&(1<<14-1) }

// mumble asks a server how many talk there (Mumble protocol, "UDP ping packet": four zeros and an identifier, which
// comes back behind the server's version).
var mumble = question{
	name: "mumble", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 0), token)
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 24 && binary.BigEndian.Uint64(reply[4:]) == token
	},
}

// teamSpeak takes the first step of the handshake of TeamSpeak 3 (ReSpeak's tsdeclarations, ts3protocol.md, "Low
// level initphase"): the server returns our four random bytes backwards with a cookie, and remembers nothing.
var teamSpeak = question{
	name: "teamspeak", bits: 32,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "TS3INIT1"+"\x00\x65\x00\x00\x88"+ // packet 101, no client, initial and not encrypted
			"\x0c\x83\x0a\x30"+"\x00"+"\x00\x00\x00\x00"...) // version 3.3.2; step 0; time
		b = binary.BigEndian.AppendUint32(b, uint32(token))
		return append(b, make([]byte, 8)...)
	},
	answered: func(token uint64, reply []byte) bool {
		const step = 11
		return len(reply) >= step+21 && bytes.HasPrefix(reply, []byte("TS3INIT1")) && reply[step] == 1 &&
			binary.LittleEndian.Uint32(reply[step+17:]) == uint32(token)
	},
}
