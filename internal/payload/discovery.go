package payload

import (
	"bytes"
	"encoding/binary"
)

// ssdp searches for the root device, by unicast (UPnP Device Architecture 2.0, section 1.3.2). MX belongs to multicast
// and some devices want it. The answer repeats nothing that differs from search to search.
var ssdp = question{
	name: "ssdp",
	ask: func(b []byte, _ uint64) []byte {
		return append(b, "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n"+
			"ST: upnp:rootdevice\r\n\r\n"...)
	},
	answered: func(_ uint64, reply []byte) bool { return bytes.HasPrefix(reply, []byte("HTTP/1.")) },
}

// wsDiscovery probes for devices of any type (WS-Discovery, April 2005, sections 2.4 and 5.2 to 5.3). The answer
// relates to the message's ID, which is a UUID with the token in it.
var wsDiscovery = question{
	name: "ws-discovery", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, `<?xml version="1.0" encoding="utf-8"?>`+
			`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"`+
			` xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"`+
			` xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Header>`+
			`<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action><a:MessageID>`...)
		b = appendUUID(b, token)
		return append(b, `</a:MessageID><a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>`+
			`<s:Body><d:Probe/></s:Body></s:Envelope>`...)
	},
	answered: func(token uint64, reply []byte) bool {
		_, rest, _ := bytes.Cut(reply, []byte("RelatesTo"))
		_, rest, _ = bytes.Cut(rest, []byte(">"))
		value, _, _ := bytes.Cut(rest, []byte("<"))
		var buf [45]byte
		return bytes.EqualFold(bytes.TrimSpace(value), appendUUID(buf[:0], token))
	},
}

// appendUUID makes a random UUID (RFC 9562, section 5.4) as a URN, half of the token at either end.
func appendUUID(b []byte, token uint64) []byte {
	var digits [16]byte
	appendHex(digits[:0], token)
	b = append(append(b, "urn:uuid:"...), digits[:8]...)
	return append(append(b, "-0000-4000-8000-0000"...), digits[8:]...)
}

// natPMP asks a gateway for its public address (RFC 6886, section 3.2). Servers of its successor answer that they do not
// know this version (RFC 6887, appendix A). Nothing is repeated.
var natPMP = question{
	name: "nat-pmp",
	ask:  func(b []byte, _ uint64) []byte { return append(b, 0, 0) },
	answered: func(_ uint64, reply []byte) bool {
		return len(reply) >= 8 && reply[0] <= 2 && reply[1]&0x80 != 0
	},
}

// ubiquiti asks a device for its description, version 1 of the protocol: there is no specification, but the datagram is
// the four bytes that the maker's own tool sends. The answer has a version, a command and the length of what follows.
var ubiquiti = question{
	name: "ubiquiti",
	ask:  func(b []byte, _ uint64) []byte { return append(b, 1, 0, 0, 0) },
	answered: func(_ uint64, reply []byte) bool {
		return len(reply) > 4 && (reply[0] == 1 || reply[0] == 2) && binary.BigEndian.Uint16(reply[2:]) > 0
	},
}

// lantronix asks a serial server for its firmware (Lantronix, "XPort Integration Guide", network port 77FE:
// command F6, answer F7).
var lantronix = question{
	name: "lantronix",
	ask:  func(b []byte, _ uint64) []byte { return append(b, 0, 0, 0, 0xf6) },
	answered: func(_ uint64, reply []byte) bool {
		return len(reply) >= 4 && binary.BigEndian.Uint32(reply) == 0xf7
	},
}

// coap asks for the list of resources (RFC 7252, section 3; RFC 6690, section 4), 64 bytes of it (Block2, RFC
// 7959, section 2.2). The server's first words have our message ID (16 bits), our token (the protocol's word, too:
// 64 bits), or both.
var coap = question{
	name: "coap", bits: 16,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, 0x48, 0x01) // version 1, confirmable, 8 bytes of token; GET
		b = binary.BigEndian.AppendUint16(b, uint16(token))
		b = binary.BigEndian.AppendUint64(b, token)
		return append(b, "\xbb.well-known\x04core\xc1\x02"...)
	},
	answered: func(token uint64, reply []byte) bool {
		if len(reply) < 4 || reply[0]>>6 != 1 {
			return false
		}
		kind, length, code := reply[0]>>4&3, reply[0]&0xf, reply[1]
		const acknowledgement = 2 // 3 is a reset
		if kind >= acknowledgement && binary.BigEndian.Uint16(reply[2:]) != uint16(token) {
			return false
		}
		if code == 0 { // no answer yet, or never
			return kind >= acknowledgement && length == 0
		}
		return code >= 0x40 && length == 8 && len(reply) >= 12 && binary.BigEndian.Uint64(reply[4:]) == token
	},
}
