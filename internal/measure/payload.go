package measure

import (
	"encoding/binary"
	"fmt"

	"github.com/dchest/siphash"
)

// A payload is a header and a body. The header, big-endian:
//
//	 0  magic
//	 4  length of the payload, the header included
//	 8  the connection, as Codec.Flow names it
//	16  sequence number, from 0
//	24  SipHash-2-4 of the 24 bytes before it, under the key of the run
//
// The body is SplitMix64 from that hash on: it cannot be compressed, any part of it can be made again, and who
// has the number knows every byte. So a payload is verified without having been kept.
const (
	// HeaderSize is the least size of a payload.
	HeaderSize = 32

	magic      = 0x73c39ae5 // no text, and no protocol's beginning
	hashed     = 24         // bytes of the header that the hash covers
	closeMatch = 24         // of 32 header bytes, as many are equal only in what was one of ours
)

// A Codec writes and verifies the payloads of one run. Those of another key are strangers to it.
type Codec struct{ k0, k1 uint64 }

// NewCodec returns the codec of a run with that seed.
func NewCodec(seed uint64) Codec { return Codec{mix(seed + golden), mix(^seed)} }

// Flow returns the name of connection i of the run, opened for the n-th time.
func (c Codec) Flow(i, n int) uint64 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(i))
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	return siphash.Hash(c.k0, c.k1, b[:])
}

// Put makes p, HeaderSize bytes at least, payload seq of a connection. It does not allocate.
func (c Codec) Put(p []byte, flow, seq uint64) {
	hash := c.putHeader(p, len(p), flow, seq)
	fill(p[HeaderSize:], hash, 0)
}

func (c Codec) putHeader(p []byte, size int, flow, seq uint64) (hash uint64) {
	_ = p[HeaderSize-1]
	binary.BigEndian.PutUint32(p, magic)
	binary.BigEndian.PutUint32(p[4:], uint32(size))
	binary.BigEndian.PutUint64(p[8:], flow)
	binary.BigEndian.PutUint64(p[16:], seq)
	hash = siphash.Hash(c.k0, c.k1, p[:hashed])
	binary.BigEndian.PutUint64(p[hashed:], hash)
	return hash
}

// open reads a header that is ours, of that size and connection. It looks at the hash last: most that is not ours
// differs before.
func (c Codec) open(p []byte, size int, flow uint64) (seq, hash uint64, ok bool) {
	if len(p) < HeaderSize || binary.BigEndian.Uint32(p) != magic || binary.BigEndian.Uint32(p[4:]) != uint32(size) ||
		binary.BigEndian.Uint64(p[8:]) != flow {
		return 0, 0, false
	}
	hash = binary.BigEndian.Uint64(p[hashed:])
	return binary.BigEndian.Uint64(p[16:]), hash, siphash.Hash(c.k0, c.k1, p[:hashed]) == hash
}

// golden is SplitMix64's step: 2^64 over the golden ratio.
const golden = 0x9e3779b97f4a7c15

// mix is SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// word returns bytes 8i to 8i+7 of the body that follows hash, the first in the lowest bits.
func word(hash uint64, i int) uint64 { return mix(hash + uint64(i+1)*golden) }

// fill writes the body's bytes from offset at on to p.
func fill(p []byte, hash uint64, at int) {
	for ; len(p) > 0 && at%8 != 0; p, at = p[1:], at+1 {
		p[0] = byte(word(hash, at/8) >> (8 * (at % 8)))
	}
	for ; len(p) >= 8; p, at = p[8:], at+8 {
		binary.LittleEndian.PutUint64(p, word(hash, at/8))
	}
	for i := range p {
		p[i] = byte(word(hash, at/8) >> (8 * i))
	}
}

// match returns how many bytes of p, from its first on, are the body's from offset at on.
func match(p []byte, hash uint64, at int) int {
	n := 0
	for ; n < len(p) && (at+n)%8 != 0; n++ {
		if p[n] != byte(word(hash, (at+n)/8)>>(8*((at+n)%8))) {
			return n
		}
	}
	for ; len(p)-n >= 8 && binary.LittleEndian.Uint64(p[n:]) == word(hash, (at+n)/8); n += 8 {
	}
	for ; n < len(p); n++ {
		if p[n] != byte(word(hash, (at+n)/8)>>(8*((at+n)%8))) {
			return n
		}
	}
	return n
}

// Kind is what happened to a payload on its way.
type Kind uint8

// The kinds of damage.
const (
	Changed   Kind = iota // bytes are others than were sent, or more came
	Truncated             // its end is missing
	Foreign               // it is nothing that was sent
)

// String is the kind in one word.
func (k Kind) String() string {
	return [...]string{"changed", "truncated", "foreign"}[k]
}

// A Damage says what came in the place of a payload.
type Damage struct {
	Kind   Kind
	Seq    uint64 // of the payload; with Foreign the one that was waited for
	Offset int    // of the first byte of the payload that is not what was sent
	Stream uint64 // the same in the bytes received over the connection (TCP)
	// Want and Got are the first bytes from there on: what was sent, what came. Neither is longer than shownBytes.
	Want, Got []byte
}

const shownBytes = 16

// Error tells it in one line. What came is in hexadecimal: it may be anything.
func (d *Damage) Error() string {
	switch d.Kind {
	case Foreign:
		return fmt.Sprintf("not a byte of what was sent came back, but %x", d.Got)
	case Truncated:
		return fmt.Sprintf("payload %d truncated at byte %d", d.Seq, d.Offset)
	}
	if len(d.Want) == 0 {
		return fmt.Sprintf("payload %d changed: it goes on behind its end, at byte %d, with %x", d.Seq, d.Offset, d.Got)
	}
	if len(d.Got) == 0 {
		return fmt.Sprintf("payload %d changed from byte %d on", d.Seq, d.Offset)
	}
	want, got := d.Shown()
	return fmt.Sprintf("payload %d changed at byte %d: %x was sent, %x came", d.Seq, d.Offset, want, got)
}

// Shown returns Want and Got, as much of them as can be compared: what comes next is not always there yet.
func (d *Damage) Shown() (want, got []byte) {
	if d.Kind != Changed || len(d.Want) == 0 || len(d.Got) == 0 {
		return d.Want, d.Got
	}
	n := min(len(d.Want), len(d.Got))
	return d.Want[:n], d.Got[:n]
}

// sent returns what payload seq has from offset at on, shownBytes at most.
func (c Codec) sent(size int, flow, seq uint64, at int) []byte {
	whole := make([]byte, min(size, max(at+shownBytes, HeaderSize)))
	hash := c.putHeader(whole, size, flow, seq)
	fill(whole[HeaderSize:], hash, 0)
	return whole[min(at, len(whole)):min(at+shownBytes, len(whole))]
}

// An Expectation is what may come on a connection: payloads of Size bytes, of which Low and those after it, up to
// High, are waited for.
type Expectation struct {
	Size      int
	Flow      uint64
	Low, High uint64
}

// mostCandidates is how many payloads a damaged header is compared with.
const mostCandidates = 1024

// Check verifies a datagram. It returns the number of the payload, and what is wrong with it, nil if nothing is. It does
// not allocate for one that is whole.
func (c Codec) Check(p []byte, e Expectation) (uint64, *Damage) {
	seq, hash, ok := c.open(p, e.Size, e.Flow)
	if !ok {
		return c.identify(p, e)
	}
	body := p[HeaderSize:min(len(p), e.Size)]
	n := HeaderSize + match(body, hash, 0)
	if n == e.Size && len(p) == e.Size {
		return seq, nil
	}
	return seq, c.damage(p, e, seq, n)
}

// damage describes p, which is payload seq up to offset at.
func (c Codec) damage(p []byte, e Expectation, seq uint64, at int) *Damage {
	d := &Damage{Kind: Changed, Seq: seq, Offset: at, Want: c.sent(e.Size, e.Flow, seq, at)}
	d.Got = append(d.Got, p[at:min(len(p), at+shownBytes)]...)
	if at == len(p) && at < e.Size {
		d.Kind = Truncated
	}
	return d
}

// identify finds out which payload a damaged header was: the one that most of its bytes agree with, the earliest of
// several.
func (c Codec) identify(p []byte, e Expectation) (uint64, *Damage) {
	n := min(len(p), HeaderSize)
	var h [HeaderSize]byte
	best, equal := e.Low, -1
	try := func(seq uint64) {
		c.putHeader(h[:], e.Size, e.Flow, seq)
		if k := agreement(p[:n], h[:n]); k > equal {
			best, equal = seq, k
		}
	}
	for seq := e.Low; seq < min(e.High, e.Low+mostCandidates); seq++ {
		try(seq)
	}
	if len(p) >= hashed {
		try(binary.BigEndian.Uint64(p[16:]))
	}
	if equal*HeaderSize < closeMatch*n || equal < 0 {
		return e.Low, &Damage{Kind: Foreign, Seq: e.Low, Got: append([]byte(nil), p[:n]...)}
	}
	hash := c.putHeader(h[:], e.Size, e.Flow, best)
	at := 0
	for at < n && p[at] == h[at] {
		at++
	}
	if at == HeaderSize { // the header is whole, and of no payload that it could be
		at += match(p[HeaderSize:min(len(p), e.Size)], hash, 0)
	}
	return best, c.damage(p, e, best, at)
}

// agreement returns how many bytes of two slices of one length are equal.
func agreement(a, b []byte) (n int) {
	for i := range a {
		if a[i] == b[i] {
			n++
		}
	}
	return n
}
