// Package shuffle puts the integers below n into an order that looks like chance and is
// arithmetic: which comes at place i, and at which place i comes, are both computed.
//
// It is a Feistel network over pairs (left < a, right < b) with a*b just above n, of which
// the few values that are n or more are walked past (cycle walking: Black and Rogaway,
// "Ciphers with Arbitrary Finite Domains", 2002). The order is for fairness to
// the network, not for secrecy.
package shuffle

import "math/bits"

// rounds is the least, an even number, at which neighbours stay neighbours no more often than chance has it.
const rounds = 6

// A Permutation is a bijection of the integers below n. The zero value is the one of n = 0.
// It is a small value, cheap to copy; At and Inverse do not allocate.
type Permutation struct {
	n    uint64
	a, b uint64 // a*b >= n, both near its root
	key  uint64
}

// New returns the permutation of the integers below n that seed names.
func New(n, seed uint64) Permutation {
	if n == 0 {
		return Permutation{}
	}
	a := root(n)
	b := n / a
	if b*a != n {
		b++
	}
	return Permutation{n: n, a: a, b: b, key: mix(seed)}
}

// With returns the permutation of the same integers that p's seed and tweak name together.
func (p Permutation) With(tweak uint64) Permutation {
	p.key = mix(p.key + tweak*0x9e3779b97f4a7c15)
	return p
}

// Len returns n.
func (p Permutation) Len() uint64 { return p.n }

// At returns what comes at place i, for i below n.
func (p Permutation) At(i uint64) uint64 {
	if p.n == 1 {
		return 0
	}
	for {
		left, right := i%p.a, i/p.a
		for r := uint64(0); r < rounds; r += 2 {
			left = plus(left, p.round(r, right, p.a), p.a)
			right = plus(right, p.round(r+1, left, p.b), p.b)
		}
		if i = left + p.a*right; i < p.n {
			return i
		}
	}
}

// Inverse returns the place at which v comes: Inverse(At(i)) is i.
func (p Permutation) Inverse(v uint64) uint64 {
	for {
		left, right := v%p.a, v/p.a
		for r := uint64(rounds); r > 0; r -= 2 {
			right = minus(right, p.round(r-1, left, p.b), p.b)
			left = minus(left, p.round(r-2, right, p.a), p.a)
		}
		if v = left + p.a*right; v < p.n {
			return v
		}
	}
}

// round maps one half to a number below size.
func (p Permutation) round(r, half, size uint64) uint64 {
	hi, _ := bits.Mul64(mix(half^(p.key+r*0xd1342543de82ef95)), size)
	return hi
}

// plus and minus add and subtract modulo size; both arguments are below it, and size is at most 2^32.
func plus(x, y, size uint64) uint64 {
	if x += y; x >= size {
		x -= size
	}
	return x
}

func minus(x, y, size uint64) uint64 {
	if x < y {
		x += size
	}
	return x - y
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// root returns the least r with r*r >= n.
func root(n uint64) uint64 {
	low, high := uint64(1), uint64(1)<<32
	for low < high {
		mid := (low + high) / 2
		if mid*mid >= n {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
