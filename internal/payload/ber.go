package payload

// element takes the first element of b that has the tag, and returns its content and what follows. It reads the basic
// encoding rules (X.690, section 8.1), definite lengths only: servers write lengths longer than DER allows.
func element(b []byte, tag byte) (content, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != tag {
		return nil, nil, false
	}
	n, b := int(b[1]), b[2:]
	if n >= 0x80 {
		octets := n & 0x7f
		if octets == 0 || octets > 4 || octets > len(b) {
			return nil, nil, false
		}
		n = 0
		for _, c := range b[:octets] {
			n = n<<8 | int(c)
		}
		b = b[octets:]
	}
	if n < 0 {
		return nil, nil, false
	}
	if n > len(b) { // truncated: what is there will do
		return b, nil, true
	}
	return b[:n], b[n:], true
}

// The universal tags that are read.
const (
	berInteger  = 0x02
	berSequence = 0x30
)

// integer takes an integer of at most 32 bits, and returns what follows it.
func integer(b []byte) (n uint32, rest []byte, ok bool) {
	content, rest, ok := element(b, berInteger)
	if !ok || len(content) == 0 || len(content) > 5 {
		return 0, nil, false
	}
	for _, c := range content {
		n = n<<8 | uint32(c)
	}
	return n, rest, true
}

// berID makes an identifier of 30 bits of the token that always takes four octets.
func berID(token uint64) uint32 { return 1<<30 | uint32(token)&(1<<30-1) }
