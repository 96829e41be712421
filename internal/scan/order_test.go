package scan

import (
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/target"
)

func drawSizes(t *rapid.T) []target.Size {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) target.Size {
		return target.Size{Hosts: rapid.Uint64Range(1, 3000).Draw(t, "hosts"), Ports: rapid.Uint64Range(1, 200).Draw(t, "ports")}
	}), 1, 5).Draw(t, "sizes")
}

func TestOrderIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := newOrder(drawSizes(t), rapid.Uint64().Draw(t, "seed"), rapid.Uint64Range(1, 5000).Draw(t, "fewest"))
		place := rapid.Uint64Range(0, o.n-1).Draw(t, "place")
		i := o.at(place)
		if i >= o.n {
			t.Fatalf("at(%d) = %d of %d", place, i, o.n)
		}
		if back := o.placeOf(i); back != place {
			t.Fatalf("placeOf(at(%d)) = %d", place, back)
		}
	})
}

func TestEveryTargetOnce(t *testing.T) {
	for _, sizes := range [][]target.Size{
		{{Hosts: 1, Ports: 1}},
		{{Hosts: 1, Ports: 65535}, {Hosts: 3, Ports: 2}},
		{{Hosts: 256, Ports: 1000}},
		{{Hosts: 70000, Ports: 3}, {Hosts: 2, Ports: 40000}, {Hosts: 5, Ports: 5}, {Hosts: 9, Ports: 3}},
	} {
		o := newOrder(sizes, 42, 1)
		seen := make([]bool, o.n)
		for place := range o.n {
			i := o.at(place)
			if i >= o.n || seen[i] {
				t.Fatalf("%v: target %d at place %d is out of range or came before", sizes, i, place)
			}
			seen[i] = true
		}
	}
}

// Fairness: while hosts have ports left, each is asked once before any is asked twice.
func TestRoundsAskEveryHostOnce(t *testing.T) {
	o := newOrder([]target.Size{{Hosts: 50, Ports: 20}, {Hosts: 10, Ports: 5}}, 7, 1)
	const hosts = 60
	for round := range uint64(5) {
		seen := map[[2]uint64]bool{}
		for slot := range uint64(hosts) {
			i := o.at(round*hosts + slot)
			host := [2]uint64{0, i % 50}
			if i >= 1000 {
				host = [2]uint64{1, (i - 1000) % 10}
			}
			if seen[host] {
				t.Fatalf("round %d asks host %v twice", round, host)
			}
			seen[host] = true
		}
	}
}

// Spans cover every place once, and never part the ports of a host.
func TestSpansPartitionThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := drawSizes(t)
		o := newOrder(sizes, 1, rapid.Uint64Range(1, 5000).Draw(t, "fewest"))
		n := rapid.Uint64Range(1, 2*o.n).Draw(t, "n")
		owner := map[[2]int]uint64{} // group and host to span
		lo := uint64(0)
		for lo < o.n {
			hi := o.nextCut(lo, min(o.n, lo+n))
			if hi <= lo || hi > o.n {
				t.Fatalf("span %d to %d of %d", lo, hi, o.n)
			}
			hosts := uint64(0)
			for block, count := range o.eachBlock(Span{lo, hi}) {
				if count == 0 {
					t.Fatalf("block %v is not whole", block)
				}
				hosts += count
				for slot := range count {
					owner[hostOf(o, o.at(block.Lo+slot))] = lo
				}
			}
			for range 20 {
				place := rapid.Uint64Range(lo, hi-1).Draw(t, "place")
				if owner[hostOf(o, o.at(place))] != lo {
					t.Fatalf("place %d belongs to a host of another span", place)
				}
			}
			lo = hi
		}
		total := uint64(0)
		for _, s := range sizes {
			total += s.Hosts
		}
		if uint64(len(owner)) != total {
			t.Fatalf("the spans hold %d hosts of %d", len(owner), total)
		}
	})
}

func hostOf(o *order, i uint64) [2]int {
	for g := len(o.groups) - 1; g >= 0; g-- {
		if i >= o.groups[g].before {
			return [2]int{g, int((i - o.groups[g].before) % o.groups[g].Hosts)}
		}
	}
	panic("no such target")
}

func TestOrderDoesNotAllocate(t *testing.T) {
	o := newOrder([]target.Size{{Hosts: 1 << 30, Ports: 1000}, {Hosts: 7, Ports: 3}}, 1, 1)
	if n := testing.AllocsPerRun(100, func() { o.placeOf(o.at(123456789)) }); n != 0 {
		t.Errorf("at and placeOf allocate %v times", n)
	}
}

func BenchmarkOrderAt(b *testing.B) {
	o := newOrder([]target.Size{{Hosts: 1 << 24, Ports: 100}}, 1, 1)
	for i := uint64(0); b.Loop(); i++ {
		o.at(i)
	}
}
