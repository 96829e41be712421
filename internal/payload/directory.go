package payload

import (
	"encoding/binary"
)

// cldap reads one attribute of the root of the directory: which versions of LDAP it speaks (RFC 4511, sections 4.1.1 and
// 4.5.1; RFC 4512, section 5.1; over UDP: MS-ADTS, section 3.1.1.3). The message ID has 30 bits of the token.
var cldap = question{
	name: "cldap", bits: 30,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x30\x3e\x02\x04"...)
		b = binary.BigEndian.AppendUint32(b, berID(token))
		return append(b, "\x63\x36\x04\x00\x0a\x01\x00\x0a\x01\x00"+ // base object "", this object only
			"\x02\x01\x00\x02\x01\x00\x01\x01\x00"+ // no limits, values too
			"\x87\x0bobjectClass"+"\x30\x16\x04\x14supportedLDAPVersion"...)
	},
	answered: func(token uint64, reply []byte) bool {
		message, _, ok := element(reply, berSequence)
		if !ok {
			return false
		}
		id, operation, ok := integer(message)
		const entry, done = 0x64, 0x65
		return ok && id == berID(token) && len(operation) > 0 && (operation[0] == entry || operation[0] == done)
	},
}

// kerberos asks for a ticket for somebody in a realm that does not exist (RFC 4120, sections 5.4.1 and 5.10). The
// error (section 5.9.1) repeats nothing that can be relied on: its shape counts.
var kerberos = question{
	name: "kerberos",
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x6a\x81\x8b\x30\x81\x88"+"\xa1\x03\x02\x01\x05"+"\xa2\x03\x02\x01\x0a"+ // version 5, AS-REQ
			"\xa4\x7c\x30\x7a"+"\xa0\x07\x03\x05\x00\x00\x00\x00\x00"+ // body; no options
			"\xa1\x12\x30\x10\xa0\x03\x02\x01\x01\xa1\x09\x30\x07\x1b\x05sonde"+
			"\xa2\x0f\x1b\x0dSONDE.INVALID"+
			"\xa3\x22\x30\x20\xa0\x03\x02\x01\x02\xa1\x19\x30\x17\x1b\x06krbtgt\x1b\x0dSONDE.INVALID"+
			"\xa5\x11\x18\x0f19700101000000Z"+"\xa7\x06\x02\x04"...) // until when it likes; nonce
		b = binary.BigEndian.AppendUint32(b, berID(token))
		return append(b, "\xa8\x0b\x30\x09\x02\x01\x12\x02\x01\x11\x02\x01\x17"...) // AES-256, AES-128, RC4
	},
	answered: func(_ uint64, reply []byte) bool {
		return isKerberos(reply, 30) || isKerberos(reply, 11) // KRB-ERROR, AS-REP
	},
}

// isKerberos wants a message's application tag, which is its type, and in its sequence the version, 5, and the
// type again.
func isKerberos(reply []byte, messageType byte) bool {
	message, _, ok := element(reply, 0x60|messageType)
	if !ok {
		return false
	}
	sequence, _, ok := element(message, berSequence)
	if !ok {
		return false
	}
	version, sequence, ok := taggedInteger(sequence, 0xa0)
	if !ok || version != 5 {
		return false
	}
	got, _, ok := taggedInteger(sequence, 0xa1)
	return ok && got == uint32(messageType)
}

func taggedInteger(b []byte, tag byte) (n uint32, rest []byte, ok bool) {
	content, rest, ok := element(b, tag)
	if !ok {
		return 0, nil, false
	}
	n, _, ok = integer(content)
	return n, rest, ok
}

// slp asks which types of services there are in the scope that everybody has (RFC 2608, sections 8 and 10.1). That the
// scope is not supported is an answer. XID has 16 bits of the token.
var slp = question{
	name: "slp", bits: 16,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x02\x09\x00\x00\x1d\x00\x00\x00\x00\x00"...) // version 2, SrvTypeRqst, 29 bytes, no flags, no extensions
		b = binary.BigEndian.AppendUint16(b, uint16(token))
		return append(b, "\x00\x02en"+"\x00\x00"+"\xff\xff"+"\x00\x07DEFAULT"...) // nobody has answered, all authorities
	},
	answered: func(token uint64, reply []byte) bool {
		if len(reply) < 14 || reply[0] != 2 || binary.BigEndian.Uint16(reply[10:]) != uint16(token) {
			return false
		}
		switch reply[1] {
		case 2, 5, 8, 10, 11: // SrvRply, SrvAck, DAAdvert, SrvTypeRply, SAAdvert
			return true
		}
		return false
	},
}

// xdmcp asks a display manager whether it is willing (X.Org, X Display Manager Control Protocol, version 1: Query,
// Willing, Unwilling). Nothing is repeated.
var xdmcp = question{
	name: "xdmcp",
	ask: func(b []byte, _ uint64) []byte {
		return append(b, "\x00\x01\x00\x02\x00\x01\x00"...) // version, Query, one byte: no names of authentication
	},
	answered: func(_ uint64, reply []byte) bool {
		const willing, unwilling = 5, 6
		return len(reply) >= 6 && binary.BigEndian.Uint16(reply) == 1 && reply[2] == 0 &&
			(reply[3] == willing || reply[3] == unwilling)
	},
}
