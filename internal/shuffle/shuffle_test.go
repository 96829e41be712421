package shuffle

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestEveryIntegerOnce(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 65535, 65536, 65537, 1 << 20} {
		for _, seed := range []uint64{0, 1, math.MaxUint64} {
			p := New(n, seed)
			seen := make([]bool, n)
			for i := range n {
				v := p.At(i)
				if v >= n || seen[v] {
					t.Fatalf("n=%d seed=%d: At(%d)=%d is out of range or came before", n, seed, i, v)
				}
				seen[v] = true
				if back := p.Inverse(v); back != i {
					t.Fatalf("n=%d seed=%d: Inverse(At(%d))=%d", n, seed, i, back)
				}
			}
		}
	}
}

func TestInverseUndoesAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Min(1).Draw(t, "n")
		p := New(n, rapid.Uint64().Draw(t, "seed")).With(rapid.Uint64().Draw(t, "tweak"))
		i := rapid.Uint64Range(0, n-1).Draw(t, "i")
		v := p.At(i)
		if v >= n {
			t.Fatalf("At(%d)=%d is not below %d", i, v, n)
		}
		if back := p.Inverse(v); back != i {
			t.Fatalf("Inverse(At(%d))=%d", i, back)
		}
	})
}

// An order that keeps neighbours together would hammer one network: among n shuffled
// integers about two pairs of neighbours are expected to stay neighbours.
func TestNeighboursPart(t *testing.T) {
	const n = 1 << 16
	for seed := range uint64(8) {
		p := New(n, seed)
		together := 0
		for i := range uint64(n - 1) {
			d := int64(p.At(i+1)) - int64(p.At(i))
			if d == 1 || d == -1 {
				together++
			}
		}
		if together > 20 {
			t.Errorf("seed %d: %d neighbours stayed neighbours", seed, together)
		}
	}
}

func TestSeedsAndTweaksDiffer(t *testing.T) {
	const n = 1000
	base := New(n, 1)
	for name, other := range map[string]Permutation{"seed": New(n, 2), "tweak": base.With(1)} {
		same := 0
		for i := range uint64(n) {
			if base.At(i) == other.At(i) {
				same++
			}
		}
		if same > 20 {
			t.Errorf("another %s leaves %d of %d places as they were", name, same, n)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p := New(1<<40, 7)
	var sum uint64
	if n := testing.AllocsPerRun(100, func() { sum += p.Inverse(p.At(12345)) }); n != 0 || sum == 0 {
		t.Errorf("At and Inverse allocate %v times", n)
	}
}

func BenchmarkAt(b *testing.B) {
	p := New(1<<32, 1)
	var sum uint64
	for i := uint64(0); b.Loop(); i++ {
		sum += p.At(i)
	}
	_ = sum
}
