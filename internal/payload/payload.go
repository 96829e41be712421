// Package payload knows the question that makes a UDP service answer, and whether a reply belongs to it.
//
// Most UDP services say nothing to a datagram that is not of their protocol. A question is a small, well-formed
// request of the protocol that usually lives on a port, built from its specification. No question logs in, opens a
// session that outlives its time-out, changes anything on the target, or is longer than 1,200 bytes (QUIC servers
// ask for that many; most take less than 100). Where a protocol has a long and a short answer, the short one is
// asked for.
//
// The caller's token, a keyed hash of the target, is put into the identifier that the protocol makes servers repeat (a
// transaction ID, a nonce, a cookie), as many of its bits as fit, lowest first; a reply counts only if it brings them
// back. The table below says how many bits that are. Protocols that repeat nothing are recognised by the reply's shape.
// The caller checks address and port in every case.
//
// Some services cannot be asked: WireGuard, Tailscale and ZeroTier say nothing to those whose keys they do not
// know, OpenVPN with tls-auth likewise, HART-IP would have to open a session, DHCP servers answer clients on their
// link, Art-Net nodes and syslog answer elsewhere or not at all, and Citrix's ICA browser has no public
// specification.
//
// All functions may be called from any goroutine; nothing is kept.
package payload

import (
	"cmp"
	"slices"
)

// A question is what a protocol is asked, and how its answers are known.
type question struct {
	name string
	bits int // of the token that come back in every answer; 0: an answer is known by its shape only
	// ask appends the question for a token.
	ask func(b []byte, token uint64) []byte
	// answered reports whether reply answers the question with that token. Reply is whatever came, of any length.
	answered func(token uint64, reply []byte) bool
}

// Append appends to b the question for the service that usually lives on a UDP port, and returns the longer slice. For a
// port that no service is known for it appends nothing: the question is an empty datagram.
func Append(b []byte, port uint16, token uint64) []byte {
	if q, ok := at(port); ok {
		return q.ask(b, token)
	}
	return b
}

// Answers reports whether reply, the payload of a datagram, belongs to the question that Append makes for the same port
// and token. On ports without a question everything is an answer. Reply may be truncated to its first 512 bytes.
func Answers(port uint16, token uint64, reply []byte) bool {
	q, ok := at(port)
	return !ok || q.answered(token, reply)
}

// Ports returns the ports that have a question of their own, ascending. The caller owns the slice.
func Ports() []uint16 {
	ports := make([]uint16, len(table))
	for i, s := range table {
		ports[i] = s.port
	}
	return ports
}

// Elsewhere reports whether the service on port answers from another port of its host, as TFTP does (RFC 1350,
// section 4): a reply has to be expected from any port of that address.
func Elsewhere(port uint16) bool { return port == 69 }

func at(port uint16) (question, bool) {
	i, ok := slices.BinarySearchFunc(table, port, func(s service, port uint16) int { return cmp.Compare(s.port, port) })
	if !ok {
		return question{}, false
	}
	return table[i].question, true
}

// mix spreads a token over all bits (the finalizer of SplitMix64), for fields that want to look random and for a
// second identifier that must differ from the first.
func mix(token uint64) uint64 {
	token = (token ^ token>>30) * 0xbf58476d1ce4e5b9
	token = (token ^ token>>27) * 0x94d049bb133111eb
	return token ^ token>>31
}

// appendNoise appends n bytes that follow from the token.
func appendNoise(b []byte, token uint64, n int) []byte {
	for i := range n {
		if i%8 == 0 {
			token = mix(token + 0x9e3779b97f4a7c15)
		}
		b = append(b, byte(token>>(i%8*8)))
	}
	return b
}

// appendHex appends the token as 16 lower-case hexadecimal digits.
func appendHex(b []byte, token uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[token>>shift&0xf])
	}
	return b
}
