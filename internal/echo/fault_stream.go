package echo

import (
	"math"
	"math/rand/v2"
)

// Which of the generators that Seed begets is meant: every connection and every peer has its own.
const (
	ofStream    uint64 = 1 << 56 // of a TCP connection, more its number
	ofPeer      uint64 = 2 << 56 // what becomes of a peer's datagrams, more its number
	ofPeersBits uint64 = 3 << 56 // which of their bits are flipped
)

func (f *Faults) generator(which uint64) *rand.Rand { return rand.New(rand.NewPCG(f.Seed, which)) }

// A corrupter flips bits of a stream of bytes: which, does not depend on how the stream is cut. It draws how many bytes are
// left alone, instead of asking for each byte.
type corrupter struct {
	p      float64
	random *rand.Rand
	alone  uint64 // bytes until the next one that is changed
	counts *FaultCounts
}

func newCorrupter(p float64, random *rand.Rand, counts *FaultCounts) corrupter {
	c := corrupter{p: p, random: random, counts: counts}
	c.draw()
	return c
}

// draw draws from the geometric law: the number of failures before the first success.
func (c *corrupter) draw() {
	c.alone = math.MaxUint64
	if c.p > 0 {
		if n := math.Log1p(-c.random.Float64()) / math.Log1p(-c.p); n < math.MaxInt64 {
			c.alone = uint64(n)
		}
	}
}

// flip changes the next bytes of the stream, in place.
func (c *corrupter) flip(data []byte) {
	for uint64(len(data)) > c.alone {
		data[c.alone] ^= 1 << (c.random.Uint32() & 7)
		c.counts.Corrupted.Add(1)
		data = data[c.alone+1:]
		c.draw()
	}
	if c.alone != math.MaxUint64 {
		c.alone -= uint64(len(data))
	}
}

// A fate decides over datagrams, one after the other.
type fate struct{ random *rand.Rand }

// next draws three times whatever is wanted, so that no fault's probability changes what another one does.
func (d fate) next(f *Faults) (lost, twice, behind bool) {
	return d.random.Float64() < f.Loss, d.random.Float64() < f.Dup, d.random.Float64() < f.Reorder
}
