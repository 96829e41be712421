package payload

import (
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// replies has for each question what its protocol's description says that a server sends back, made without the code
// that is tested: where a library knows the encoding, by it.
var replies = map[string]func(token uint64) []byte{
	"echo":    be64,
	"systat":  func(uint64) []byte { return []byte("root     tty1\r\n") },
	"daytime": func(uint64) []byte { return []byte("Sunday, November 22, 2026 16:07:02-UTC\r\n") },
	"qotd":    func(uint64) []byte { return []byte("„Yes.\"\n\t-- Anon\xe9\n") },
	"chargen": func(uint64) []byte { return []byte(" !\"#$%&'()*+,-./0123456789:;<=>?@ABC\r\n") },
	"time":    func(uint64) []byte { return []byte{0xee, 0xad, 0x91, 0xb8} },
	"ntp": func(t uint64) []byte {
		b := make([]byte, 48)
		b[0], b[1] = 0x24, 2
		binary.BigEndian.PutUint64(b[24:], t)
		binary.BigEndian.PutUint64(b[32:], 0xeead9128c488936d)
		return b
	},
	"tftp":      func(uint64) []byte { return []byte("\x00\x05\x00\x01File not found\x00") },
	"memcached": func(t uint64) []byte { return join(be16(t), "\x00\x00\x00\x01\x00\x00VERSION 1.6.18\r\n") },
	"ms-sql-m": func(uint64) []byte {
		text := "ServerName;DB1;InstanceName;MSSQLSERVER;IsClustered;No;Version;15.0.2000.5;tcp;1433;;"
		return append([]byte{5, byte(len(text)), 0}, text...)
	},

	"dns": func(t uint64) []byte {
		return dnsReply(t, "LocalHost.", dnsmessage.TypeA, true, &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}})
	},
	"mdns": func(t uint64) []byte {
		return dnsReply(t, "_services._dns-sd._udp.local.", dnsmessage.TypePTR, true,
			&dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("_http._tcp.local.")})
	},
	"llmnr": func(t uint64) []byte {
		return dnsReply(t, "1.0.0.127.in-addr.arpa.", dnsmessage.TypePTR, true,
			&dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("here.")})
	},
	"netbios-ns": func(t uint64) []byte {
		status := append([]byte{1}, "SONDE          \x00\x04\x00"...)
		return dnsReply(t, "CK"+strings.Repeat("A", 30)+".", 0x21, false,
			&dnsmessage.UnknownResource{Type: 0x21, Data: append(status, make([]byte, 46)...)})
	},

	"sunrpc": func(t uint64) []byte {
		return join(be32(t), "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	},
	"afs": func(t uint64) []byte {
		return join(be64(t), make([]byte, 12), "\x0d\x04", make([]byte, 6), "OpenAFS 1.8.9", make([]byte, 52))
	},
	"memberlist": func(t uint64) []byte {
		return join("\x07\x02\x00\x16\x00\x03", "\x02\x82\xa7Payload\xc0\xa5SeqNo\xce", be32(t), "\x04\x80\x80")
	},

	"snmp": func(t uint64) []byte {
		usm := der([]any{[]byte{0x80, 0, 0x1f, 0x88, 4}, 3, 200, []byte{}, []byte{}, []byte{}})
		pdu := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 8, IsCompound: true, Bytes: slices.Concat(der(0), der(0), der(0), der([]any{}))}
		return der([]any{3, []any{int(uint32(t)&0x3fffffff | 0x40000000), 65507, []byte{0}, 3}, usm, []any{[]byte{}, []byte{}, pdu}})
	},
	"cldap": func(t uint64) []byte {
		done := asn1.RawValue{Class: asn1.ClassApplication, Tag: 5, IsCompound: true, Bytes: slices.Concat(der(asn1.Enumerated(0)), der([]byte{}), der([]byte{}))}
		return der([]any{int(uint32(t)&0x3fffffff | 0x40000000), done})
	},
	"kerberos": func(uint64) []byte {
		type krbError struct {
			Version int    `asn1:"tag:0,explicit"`
			Type    int    `asn1:"tag:1,explicit"`
			Code    int    `asn1:"tag:6,explicit"`
			Realm   string `asn1:"tag:9,explicit,ia5"`
		}
		b, err := asn1.MarshalWithParams(krbError{5, 30, 68, "EXAMPLE.ORG"}, "application,explicit,tag:30")
		if err != nil {
			panic(err)
		}
		return b
	},
	"slp": func(t uint64) []byte {
		return join("\x02\x0a\x00\x00\x14\x00\x00\x00\x00\x00", be16(t), "\x00\x02en", "\x00\x00\x00\x00")
	},
	"xdmcp": func(uint64) []byte {
		return []byte("\x00\x01\x00\x05\x00\x11\x00\x00\x00\x04here\x00\x07willing")
	},

	"ipmi": func(t uint64) []byte {
		return join("\x06\x00\xff\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x81\x1c\x63\x20", []byte{byte(t) << 2},
			"\x38\x00\x01\x97\x04\x03\x00\x00\x00\x00\x00\x00")
	},
	"radius": func(t uint64) []byte {
		return join("\x03", []byte{byte(t)}, "\x00\x1e", make([]byte, 16), "\x21\x0a", be64(t))
	},
	"radius-acct": func(t uint64) []byte { return join("\x02", []byte{byte(t)}, "\x00\x14", make([]byte, 16)) },

	"ike": notification,
	"ike-nat-t": func(t uint64) []byte {
		return join("\x00\x00\x00\x00", notification(t))
	},
	"l2tp": func(t uint64) []byte {
		return join("\xc8\x02\x00\x26", be16(t|0x8000), "\x00\x00\x00\x00\x00\x01",
			"\x80\x08\x00\x00\x00\x00\x00\x04\x80\x08\x00\x00\x00\x09\x00\x07\x80\x0a\x00\x00\x00\x01\x00\x02\x00\x08")
	},
	"openvpn": func(t uint64) []byte {
		return join("\x40", "12345678", "\x01\x00\x00\x00\x00", be64(t), "\x00\x00\x00\x00")
	},

	"quic": func(t uint64) []byte {
		question := Append(nil, 443, t)
		return join("\xeb\x00\x00\x00\x00\x08", question[15:23], "\x08", question[6:14], "\x00\x00\x00\x01\x6b\x33\x43\xcf")
	},
	"dtls": func(uint64) []byte {
		return []byte("\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x13\x03\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x07\xfe\xff\x04abcd")
	},

	"sip": func(t uint64) []byte {
		return fmt.Appendf(nil, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP sonde.invalid;rport=5070;received=192.0.2.1\r\n"+
			"To: <sip:sonde.invalid>;tag=1\r\ni : %016x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", t)
	},
	"stun": func(t uint64) []byte {
		return join("\x01\x01\x00\x0c\x21\x12\xa4\x42", Append(nil, 3478, t)[8:20], "\x00\x20\x00\x08\x00\x01\xc6\xac\x5e\x12\xa4\x43")
	},
	"mgcp": func(t uint64) []byte { return fmt.Appendf(nil, "500 %d No such endpoint\r\n", 100000000+t&0x1fffffff) },
	"iax2": func(t uint64) []byte {
		return join("\x80\x01", be16(t&0x3fff|0x4000), "\x00\x00\x00\x00\x00\x01\x06\x03")
	},
	"mumble": func(t uint64) []byte {
		return join("\x00\x01\x03\x04", be64(t), "\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x01\x19\x40")
	},
	"teamspeak": func(t uint64) []byte {
		return join("TS3INIT1", "\x00\x65\x88", "\x01", make([]byte, 16), binary.LittleEndian.AppendUint32(nil, uint32(t)))
	},

	"ssdp": func(uint64) []byte {
		return []byte("HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1::upnp:rootdevice\r\n\r\n")
	},
	"ws-discovery": func(t uint64) []byte {
		return fmt.Appendf(nil, `<?xml version="1.0"?><soap:Envelope><soap:Header><wsa:MessageID>urn:uuid:1</wsa:MessageID>`+
			`<wsa:RelatesTo> URN:UUID:%08X-0000-4000-8000-0000%08X </wsa:RelatesTo></soap:Header><soap:Body/></soap:Envelope>`, t>>32, uint32(t))
	},
	"nat-pmp":   func(uint64) []byte { return []byte("\x00\x80\x00\x00\x00\x00\x00\x10\xc0\x00\x02\x01") },
	"ubiquiti":  func(uint64) []byte { return []byte("\x01\x00\x00\x07\x0b\x00\x04here") },
	"lantronix": func(uint64) []byte { return []byte("\x00\x00\x00\xf7\x00\x00X5") },
	"coap": func(t uint64) []byte {
		return join("\x68\x45", be16(t), be64(t), "\xc1\x28\xff</>;title=x")
	},

	"rip": func(t uint64) []byte {
		return join("\x02\x02\x00\x00\x00\x02\x00\x00\x0a", be32(t)[1:], "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x10")
	},
	"ripng": func(t uint64) []byte {
		return join("\x02\x01\x00\x00\x20\x01\x0d\xb8\x00\x00\x00\x00", be64(t), "\x00\x00\x80\x10")
	},
	"gtp": func(t uint64) []byte {
		return join("\x32\x02\x00\x06\x00\x00\x00\x00", be16(t), "\x00\x00\x0e\x00")
	},

	"bacnet": func(t uint64) []byte { // by way of a router: source network 7, address 9
		return join("\x81\x0a\x00\x18\x01\x08\x00\x07\x01\x09\x30", []byte{byte(t)}, "\x0c\x0c\x02\x00\x00\x01\x19\x4b\x3e\xc4\x02\x00\x00\x01\x3f")
	},
	"ethernet-ip": func(t uint64) []byte {
		return join("\x04\x00\x1a\x00\x00\x00\x00\x00\x00\x00\x00\x00", be64(t), make([]byte, 4),
			"\x01\x00\x00\x01\x14\x00\x01\x00\x20\x01Communications\x00\x00")
	},
	"knxnet-ip": func(uint64) []byte { return join("\x06\x10\x02\x04\x00\x46\x36\x01", make([]byte, 62)) },
	"fins": func(t uint64) []byte {
		return join("\xc0\x00\x02\x00\x63\x00\x00\x00\x00", []byte{byte(t)}, "\x05\x01\x00\x00CJ2M-CPU33          ")
	},

	"source": func(uint64) []byte { return []byte("\xff\xff\xff\xffA\x0b\x1c\x2d\x3e") },
	"quake3": func(t uint64) []byte {
		return fmt.Appendf(nil, "\xff\xff\xff\xffinfoResponse\n\\sv_maxclients\\8\\challenge\\%016x", t)
	},
	"minecraft": func(t uint64) []byte {
		id := []byte{byte(t >> 12 & 0xf), byte(t >> 8 & 0xf), byte(t >> 4 & 0xf), byte(t & 0xf)}
		return join("\x09", id, "9513307\x00")
	},
	"bedrock": func(t uint64) []byte {
		return join("\x1c", be64(t), "ABCDEFGH", "\x00\xff\xff\x00\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78", "\x00\x04MCPE")
	},

	"bittorrent-dht": func(t uint64) []byte {
		return join("d2:ip6:abcdef1:rd2:id20:mnopqrstuvwxyz1234561:pi6881ee1:t8:", be64(t), "1:v4:LT121:y1:re")
	},
	"bittorrent-tracker": func(t uint64) []byte { return join("\x00\x00\x00\x00", be32(t), "12345678") },
}

// notification is NO_PROPOSAL_CHOSEN of IKE version 2.
func notification(t uint64) []byte {
	return join(be64(t), "87654321", "\x29\x20\x22\x20\x00\x00\x00\x00\x00\x00\x00\x24", "\x00\x00\x00\x08\x00\x00\x00\x0e")
}

func dnsReply(t uint64, name string, kind dnsmessage.Type, withQuestion bool, body dnsmessage.ResourceBody) []byte {
	m := dnsmessage.Message{
		Header:  dnsmessage.Header{ID: uint16(t), Response: true, Authoritative: true},
		Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET}, Body: body}},
	}
	if withQuestion {
		m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// der encodes integers, octet strings and, as []any, sequences.
func der(v any) []byte {
	if list, ok := v.([]any); ok {
		var content []byte
		for _, e := range list {
			content = append(content, der(e)...)
		}
		v = asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content}
	}
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func join(parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			b = append(b, part...)
		case []byte:
			b = append(b, part...)
		}
	}
	return b
}

func be16(t uint64) []byte { return binary.BigEndian.AppendUint16(nil, uint16(t)) }
func be32(t uint64) []byte { return binary.BigEndian.AppendUint32(nil, uint32(t)) }
func be64(t uint64) []byte { return binary.BigEndian.AppendUint64(nil, t) }
