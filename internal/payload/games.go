package payload

import (
	"bytes"
	"encoding/binary"
)

// source asks a game server of Valve's engines what is played (Valve Developer Community, "Server queries",
// A2S_INFO). Newer servers answer with a challenge (A), which must come back for more; I and m are descriptions.
// Nothing is repeated.
var source = question{
	name: "source",
	ask:  func(b []byte, _ uint64) []byte { return append(b, "\xff\xff\xff\xffTSource Engine Query\x00"...) },
	answered: func(_ uint64, reply []byte) bool {
		if len(reply) < 6 || binary.BigEndian.Uint32(reply) != 0xffffffff {
			return false
		}
		return reply[4] == 'A' || reply[4] == 'I' || reply[4] == 'm'
	},
}

// quake3 asks a game server of id's third engine what is played (ioquake3, sv_main.c: SVC_Info). The description
// is keys and values after backslashes; its challenge is ours: the token.
var quake3 = question{
	name: "quake3", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		return appendHex(append(b, "\xff\xff\xff\xffgetinfo "...), token)
	},
	answered: func(token uint64, reply []byte) bool {
		info, ok := bytes.CutPrefix(reply, []byte("\xff\xff\xff\xffinfoResponse\n\\"))
		if !ok {
			return false
		}
		var buf [16]byte
		return bytes.Equal(infoValue(info, "challenge"), appendHex(buf[:0], token))
	},
}

// infoValue returns the value of the first key of that name.
func infoValue(info []byte, key string) []byte {
	for len(info) > 0 {
		var name, value []byte
		name, info, _ = bytes.Cut(info, []byte(`\`))
		value, info, _ = bytes.Cut(info, []byte(`\`))
		if string(name) == key {
			return bytes.TrimRight(value, "\n\x00")
		}
	}
	return nil
}

// minecraft begins a query as the servers of Minecraft's Java edition answer it (minecraft.wiki, "Query"): a handshake,
// which makes them send a challenge. Of the session ID's four bytes only the lower halves count: 16 bits of the token.
var minecraft = question{
	name: "minecraft", bits: 16,
	ask: func(b []byte, token uint64) []byte {
		return binary.BigEndian.AppendUint32(append(b, 0xfe, 0xfd, 9), sessionID(token))
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) > 5 && reply[0] == 9 && binary.BigEndian.Uint32(reply[1:]) == sessionID(token)
	},
}

func sessionID(token uint64) uint32 {
	t := uint32(token)
	return t&0xf | t&0xf0<<4 | t&0xf00<<8 | t&0xf000<<12
}

// raknetMagic marks a message of RakNet that belongs to no connection (RakNet, "OFFLINE_MESSAGE_DATA_ID").
const raknetMagic = "\x00\xff\xff\x00\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78"

// bedrock pings a server of Minecraft's Bedrock edition (minecraft.wiki, "RakNet": unconnected ping and pong). The
// pong repeats our time, which is the token.
var bedrock = question{
	name: "bedrock", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = binary.BigEndian.AppendUint64(append(b, 0x01), token)
		return binary.BigEndian.AppendUint64(append(b, raknetMagic...), mix(token))
	},
	answered: func(token uint64, reply []byte) bool {
		return len(reply) >= 33 && reply[0] == 0x1c && binary.BigEndian.Uint64(reply[1:]) == token &&
			string(reply[17:33]) == raknetMagic
	},
}
