package payload

import "encoding/binary"

// bacnet reads the object identifier of whatever device there is: instance 4194303 stands for the one that is
// asked (ANSI/ASHRAE 135, clauses 12.11, 15.5, 20.1.2 and J.2). The invoke ID has eight bits of the token; values,
// errors, rejects and aborts repeat it.
var bacnet = question{
	name: "bacnet", bits: 8,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, "\x81\x0a\x00\x11"+"\x01\x04"+"\x00\x05"...) // to one, 17 bytes; version 1, answer expected; confirmed request
		b = append(b, byte(token))
		return append(b, "\x0c\x0c\x02\x3f\xff\xff\x19\x4b"...) // read property: device 4194303, object-identifier
	},
	answered: func(token uint64, reply []byte) bool {
		if len(reply) < 6 || reply[0] != 0x81 || reply[1] != 0x0a || reply[4] != 1 {
			return false
		}
		answer := afterAddresses(reply[5], reply[6:])
		return len(answer) >= 2 && answer[0] >= 0x20 && answer[0] < 0x80 && answer[0]>>4 != 4 && answer[1] == byte(token)
	},
}

// afterAddresses skips what routers of BACnet add: destination and source, each with a network, a length and an
// address, and a hop count with the first (clause 6.2.2).
func afterAddresses(control byte, b []byte) []byte {
	const destination, origin = 0x20, 0x08
	for _, present := range [...]byte{control & destination, control & origin} {
		if present == 0 {
			continue
		}
		if len(b) < 3 || len(b) < 3+int(b[2]) {
			return nil
		}
		b = b[3+int(b[2]):]
	}
	if control&destination != 0 && len(b) > 0 {
		b = b[1:]
	}
	return b
}

// etherNetIP asks which services a device has (CIP volume 2, sections 2-3 and 2-4.6). ListIdentity would tell
// more, but lets the device wait for as long as the first bytes of the context say. The context, eight bytes, is
// repeated.
var etherNetIP = question{
	name: "ethernet-ip", bits: 64,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, listServices, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // no data, no session, no status
		b = binary.BigEndian.AppendUint64(b, token)
		return append(b, 0, 0, 0, 0)
	},
	answered: func(token uint64, reply []byte) bool {
		if len(reply) < 24 || binary.LittleEndian.Uint16(reply) != listServices || binary.BigEndian.Uint64(reply[12:]) != token {
			return false
		}
		return binary.LittleEndian.Uint16(reply[2:]) > 0 || binary.LittleEndian.Uint32(reply[8:]) != 0
	},
}

const listServices = 4

// knx asks for a description (KNXnet/IP, ISO 22510, sections 7.5.4 and 7.6.3: DESCRIPTION_REQUEST 0203,
// DESCRIPTION_RESPONSE 0204), to be sent where the question came from: an endpoint of zeros. Nothing is repeated.
var knx = question{
	name: "knxnet-ip",
	ask: func(b []byte, _ uint64) []byte {
		return append(b, "\x06\x10\x02\x03\x00\x0e"+"\x08\x01\x00\x00\x00\x00\x00\x00"...)
	},
	answered: func(_ uint64, reply []byte) bool {
		return len(reply) >= 6 && binary.BigEndian.Uint32(reply) == 0x06100204
	},
}

// fins reads a controller's model (Omron W227, "FINS Commands Reference", sections 3-1 and 5-3-12: command 0501).
// The service ID has eight bits of the token.
var fins = question{
	name: "fins", bits: 8,
	ask: func(b []byte, token uint64) []byte {
		b = append(b, 0x80, 0, 2, 0, 0, 0, 0, 0x63, 0) // a command, two gateways at most; to the local node, from node 99
		return append(b, byte(token), 0x05, 0x01)
	},
	answered: func(token uint64, reply []byte) bool {
		const response = 0x40
		return len(reply) >= 14 && reply[0]&0xc0 == 0x80|response && reply[9] == byte(token) &&
			binary.BigEndian.Uint16(reply[10:]) == 0x0501
	},
}
