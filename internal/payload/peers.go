package payload

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// dht pings a node of BitTorrent's distributed hash table (BEP 5), and says that we are not to be remembered as a
// node (BEP 43: ro). The transaction ID is the token.
var dht = question{
	name: "bittorrent-dht", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = appendNoise(append(b, "d1:ad2:id20:"...), token, 20)
		b = append(b, "e1:q4:ping2:roi1e1:t8:"...)
		return append(binary.BigEndian.AppendUint64(b, token), "1:y1:qe"...)
	},
	answered: func(token uint64, reply []byte) bool {
		kind, _ := dictionaryValue(reply, "y")
		id, ok := dictionaryValue(reply, "t")
		return ok && len(id) == 8 && binary.BigEndian.Uint64(id) == token && len(kind) == 1 && (kind[0] == 'r' || kind[0] == 'e')
	},
}

// tracker asks a BitTorrent tracker for a connection ID, which announces nothing (BEP 15, "Connect"). The
// transaction ID has 32 bits of the token.
var tracker = question{
	name: "bittorrent-tracker", bits: 32,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00"...) // the protocol's ID; connect
		return binary.BigEndian.AppendUint32(b, uint32(token))
	},
	answered: func(token uint64, reply []byte) bool {
		const connected, failed = 0, 3
		if len(reply) < 8 || binary.BigEndian.Uint32(reply[4:]) != uint32(token) {
			return false
		}
		action := binary.BigEndian.Uint32(reply)
		return action == connected && len(reply) >= 16 || action == failed
	},
}

// dictionaryValue returns the string that a bencoded dictionary (BEP 3, "bencoding") has for a key of its first level.
func dictionaryValue(b []byte, key string) (value []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte("d"))
	for ok && len(b) > 0 && b[0] != 'e' {
		var name []byte
		if name, b, ok = bencoded(b); !ok {
			return nil, false
		}
		if string(name) == key {
			value, _, ok = bencoded(b)
			return value, ok
		}
		b, ok = skipBencoded(b)
	}
	return nil, false
}

// bencoded takes a string: its length, a colon, its bytes.
func bencoded(b []byte) (s, rest []byte, ok bool) {
	colon := bytes.IndexByte(b[:min(len(b), 6)], ':')
	if colon < 0 {
		return nil, nil, false
	}
	n, err := strconv.ParseUint(string(b[:colon]), 10, 16)
	rest = b[colon+1:]
	if err != nil || uint64(len(rest)) < n {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

// skipBencoded skips a string, an integer, or a list or dictionary with all that is in it, however deep.
func skipBencoded(b []byte) (rest []byte, ok bool) {
	for depth := 0; len(b) > 0; {
		switch b[0] {
		case 'i':
			if _, b, ok = bytes.Cut(b, []byte("e")); !ok {
				return nil, false
			}
		case 'l', 'd':
			depth++
			b = b[1:]
		case 'e':
			depth--
			b = b[1:]
		default:
			if _, b, ok = bencoded(b); !ok {
				return nil, false
			}
		}
		if depth <= 0 {
			return b, depth == 0
		}
	}
	return nil, false
}
