package payload

import (
	"bytes"
	"encoding/binary"
)

// echo sends the token and wants it back (RFC 862).
var echo = question{
	name: "echo", bits: 64,
	ask: func(b []byte, token uint64) []byte { return binary.BigEndian.AppendUint64(b, token) },
	answered: func(token uint64, reply []byte) bool {
		return len(reply) == 8 && binary.BigEndian.Uint64(reply) == token
	},
}

// text is one of the services that send text whatever they are sent: users (RFC 866), daytime (RFC 867), quote of the
// day (RFC 865), character generator (RFC 864). They ignore what is in the datagram; an empty one would do, but some
// filters drop it. The text repeats nothing: any line of printable characters counts.
func text(name string) question {
	return question{
		name:     name,
		ask:      func(b []byte, _ uint64) []byte { return append(b, '\n') },
		answered: func(_ uint64, reply []byte) bool { return isText(reply) },
	}
}

// isText allows what is above ASCII: quotes and names have it.
func isText(reply []byte) bool {
	visible := false
	for _, c := range reply {
		switch {
		case c > ' ' && c != 0x7f:
			visible = true
		case c != ' ' && (c < '\t' || c > '\r'):
			return false
		}
	}
	return visible
}

// clock asks for the time: four bytes, seconds since 1900 (RFC 868). They repeat nothing.
var clock = question{
	name:     "time",
	ask:      func(b []byte, _ uint64) []byte { return append(b, '\n') },
	answered: func(_ uint64, reply []byte) bool { return len(reply) == 4 },
}

// ntp is a client's request of version 4 (RFC 5905, sections 7.3 and 8). Servers repeat its transmit timestamp as
// their origin timestamp, to the last bit; a client may put there what it likes.
var ntp = question{
	name: "ntp", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		const version4client = 4<<3 | 3
		b = append(b, version4client)
		b = append(b, make([]byte, 39)...)
		return binary.BigEndian.AppendUint64(b, token)
	},
	answered: func(token uint64, reply []byte) bool {
		const server = 4
		return len(reply) >= 48 && reply[0]&7 == server && binary.BigEndian.Uint64(reply[24:]) == token
	},
}

// tftp asks to read a file that is not there (RFC 1350, sections 2 to 5). The error that comes back repeats
// nothing, and comes from a new port of the host (Elsewhere): it chooses one for each transfer.
var tftp = question{
	name: "tftp",
	ask:  func(b []byte, _ uint64) []byte { return append(b, "\x00\x01sonde\x00octet\x00"...) },
	answered: func(_ uint64, reply []byte) bool {
		if len(reply) < 4 || reply[0] != 0 {
			return false
		}
		const data, failure, options = 3, 5, 6 // RFC 2347 has the last one
		return reply[1] == data || reply[1] == failure || reply[1] == options
	},
}

// memcached asks for the version. The frame before it (memcached's doc/protocol.txt, "UDP protocol") has a request ID of
// 16 bits, which is repeated, the datagram's number, how many there are, and two zeros.
var memcached = question{
	name: "memcached", bits: 16,
	ask: func(b []byte, token uint64) []byte {
		b = binary.BigEndian.AppendUint16(b, uint16(token))
		return append(b, "\x00\x00\x00\x01\x00\x00version\r\n"...)
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) > 8 && binary.BigEndian.Uint16(reply) == uint16(token) &&
			!bytes.HasPrefix(reply[8:], []byte("version"))
	},
}

// sqlBrowser asks which instances of SQL Server there are (MC-SQLR, CLNT_UCAST_EX, section 2.2.2; SVR_RESP, 2.2.5). The
// shorter questions need an instance's name. The reply, a byte 5, a length and text, repeats nothing.
var sqlBrowser = question{
	name: "ms-sql-m",
	ask:  func(b []byte, _ uint64) []byte { return append(b, 3) },
	answered: func(_ uint64, reply []byte) bool {
		return len(reply) > 3 && reply[0] == 5 && binary.LittleEndian.Uint16(reply[1:]) > 0
	},
}
