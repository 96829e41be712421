package payload

import "encoding/binary"

// snmp asks an agent of version 3 who it is, as a manager does first (RFC 3414, section 4): it needs no community
// and no user, and agents that know version 3 must answer with a report. More do than have the community "public"
// for version 1. The message ID has 30 bits of the token. RFC 3412, section 6, has the message; 65507 is what we
// can receive, 4 is "reportable".
var snmp = question{
	name: "snmp", bits: 30,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x30\x3e\x02\x01\x03"+"\x30\x11\x02\x04"...)
		b = binary.BigEndian.AppendUint32(b, berID(token))
		b = append(b, "\x02\x03\x00\xff\xe3\x04\x01\x04\x02\x01\x03"+ // maximum size, flags, user-based security
			"\x04\x10\x30\x0e\x04\x00\x02\x01\x00\x02\x01\x00\x04\x00\x04\x00\x04\x00"+ // no engine, no user yet
			"\x30\x14\x04\x00\x04\x00\xa0\x0e\x02\x04"...) // get
		b = binary.BigEndian.AppendUint32(b, berID(token))
		return append(b, "\x02\x01\x00\x02\x01\x00\x30\x00"...)
	},
	answered: func(token uint64, reply []byte) bool {
		message, _, ok := element(reply, berSequence)
		if !ok {
			return false
		}
		version, message, ok := integer(message)
		if !ok || version != 3 {
			return false
		}
		header, message, ok := element(message, berSequence)
		if !ok || len(message) == 0 {
			return false
		}
		id, header, ok := integer(header)
		return ok && id == berID(token) && !reportable(header)
	},
}

// reportable tells a request from a report, which must not ask for reports (RFC 3412, section 6.4). Header begins with
// the maximum size.
func reportable(header []byte) bool {
	const octetString = 0x04
	_, header, ok := integer(header)
	if !ok {
		return false
	}
	flags, _, ok := element(header, octetString)
	return ok && len(flags) == 1 && flags[0]&4 != 0
}

// ipmi asks a management controller which ways of logging in it has, the one command that needs no session (IPMI
// 2.0, sections 13.6, 13.8 and 22.13). The sequence number has six bits of the token.
var ipmi = question{
	name: "ipmi", bits: 6,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x06\x00\xff\x07"+ // RMCP: version 1.0, no acknowledgement, IPMI
			"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"+ // no session; nine bytes follow
			"\x20\x18\xc8"...) // to the controller, application request; checksum
		const software, command, channel, administrator = 0x81, 0x38, 0x0e, 4
		sequence := byte(token) << 2
		sum := software + sequence + command + channel + administrator
		return append(b, software, sequence, command, channel, administrator, -sum)
	},
	answered: func(token uint64, reply []byte) bool {
		const response, command = 7, 0x38
		return len(reply) > 20 && reply[0] == 6 && reply[3]&0x1f == 7 && reply[4] == 0 &&
			reply[15]>>2 == response && reply[18] == byte(token)<<2 && reply[19] == command
	},
}

// radius asks to let in somebody whom nobody knows (RFC 2865, sections 3, 4.1 and 5). Status-Server, made for this
// (RFC 5997), needs the shared secret; this does not, and a server that has us among its clients says no. It says
// nothing to others. The identifier has eight bits of the token, and Proxy-State, which servers must return
// (5.33), all of them.
var radius = question{
	name: "radius", bits: 8,
	ask: func(b []byte, token uint64) []byte {
		return appendRADIUS(b, token, 1, "\x01\x07sonde"+"\x20\x07sonde"+"\x02\x12") // user, NAS, password
	},
	answered: func(token uint64, reply []byte) bool {
		const accept, reject, challenge = 2, 3, 11
		return radiusAnswers(token, reply, accept, reject, challenge)
	},
}

// radiusAccounting asks for the server's status: anything else would make an entry in its books. A correct server
// wants the signature to be right, which it cannot be without the secret, so few answer. RFC 5997, sections 2.1
// and 3.
var radiusAccounting = question{
	name: "radius-acct", bits: 8,
	ask: func(b []byte, token uint64) []byte {
		return appendRADIUS(b, token, 12, "\x20\x07sonde"+"\x50\x12") // NAS, Message-Authenticator
	},
	answered: func(token uint64, reply []byte) bool {
		const accept, response = 2, 5
		return radiusAnswers(token, reply, accept, response)
	},
}

const radiusProxyState = 33

// appendRADIUS appends a packet with attributes, the last of which wants 16 more bytes, and with Proxy-State.
func appendRADIUS(b []byte, token uint64, code byte, attributes string) []byte {
	start := len(b)
	b = append(b, code, byte(token), 0, 0)
	b = appendNoise(b, token, 16)
	b = append(b, attributes...)
	b = appendNoise(b, mix(token), 16)
	b = binary.BigEndian.AppendUint64(append(b, radiusProxyState, 10), token)
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

func radiusAnswers(token uint64, reply []byte, codes ...byte) bool {
	if len(reply) < 20 || reply[1] != byte(token) || int(binary.BigEndian.Uint16(reply[2:])) < 20 {
		return false
	}
	for _, code := range codes {
		if reply[0] == code {
			return proxyStateFits(token, reply[20:])
		}
	}
	return false
}

// proxyStateFits walks the attributes: type, length, value.
func proxyStateFits(token uint64, attributes []byte) bool {
	for len(attributes) >= 2 && attributes[1] >= 2 && int(attributes[1]) <= len(attributes) {
		if attributes[0] == radiusProxyState {
			return attributes[1] == 10 && binary.BigEndian.Uint64(attributes[2:]) == token
		}
		attributes = attributes[attributes[1]:]
	}
	return true
}
