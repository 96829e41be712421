package route

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// Wherever one asks, the answer is the kernel's.
func TestAgreesWithTheKernel(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	for _, c := range []Config{
		{}, {Interface: "lab1"}, {Interface: "lab2"}, {Source4: addr("198.18.1.9"), Source6: addr("2001:db8:1::9")}, {Interface: "lab2", Source4: addr("198.18.1.9"), Source6: addr("fd00:1::1")},
	} {
		table := open(t, c)
		addrs := []netip.Addr{}
		for _, k := range table.starts {
			a := addrOf(k)
			addrs = append(addrs, a, a.Prev(), a.Next())
		}
		for range 2000 {
			n := rand.IntN(len(table.starts)) // a random address of a random stretch, so that the narrow ones are met too
			end := key{1<<64 - 1, 1<<64 - 1}
			if n+1 < len(table.starts) {
				end = table.starts[n+1]
			}
			addrs = append(addrs, between(table.starts[n], end))
		}
		for range 500 {
			addrs = append(addrs, netip.AddrFrom4([4]byte{byte(rand.Int()), byte(rand.Int()), byte(rand.Int()), byte(rand.Int())}))
		}
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		for _, a := range addrs {
			if !a.IsValid() {
				continue
			}
			a = a.Unmap()
			got, err := table.Lookup(a)
			want, asked := table.ask(a)
			switch {
			case (err == nil) != (asked == nil) || err != nil && !strings.HasSuffix(err.Error(), asked.Error()):
				t.Errorf("%+v, %v: %v, the kernel says %v", c, a, err, asked)
			case err == nil && *got != want:
				t.Errorf("%+v, %v: %+v, the kernel says %+v", c, a, *got, want)
			case err == nil && got != table.hops[want].hop:
				t.Errorf("%v: a second pointer", a)
			}
		}
	}
}

func addrOf(k key) netip.Addr {
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(k.hi>>(56-8*i)), byte(k.lo>>(56-8*i))
	}
	return netip.AddrFrom16(b)
}

// between returns an address from a on and before b, or near there.
func between(a, b key) netip.Addr {
	k := a
	if b.hi > a.hi {
		k.hi += rand.Uint64N(b.hi - a.hi)
		if k.hi > a.hi {
			k.lo = rand.Uint64()
		}
	} else if b.lo > a.lo {
		k.lo += rand.Uint64N(b.lo - a.lo)
	}
	return addrOf(k)
}

func TestKnownAnswersCostNothing(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	table := open(t, Config{})
	addrs := []netip.Addr{addr("8.8.8.8"), addr("203.0.113.1"), addr("fd00:1::2"), addr("2600::1"), addr("fe80::2%lab1"), addr("::1")}
	ask := func() {
		for _, a := range addrs {
			if _, err := table.Lookup(a); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask()
	if n := testing.AllocsPerRun(100, ask); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	if one, _ := town(b); one == nil {
		return
	}
	table := open(b, Config{})
	b.Logf("%d stretches", len(table.starts))
	addrs := make([]netip.Addr, 1<<12)
	for i := range addrs {
		for {
			addrs[i] = netip.AddrFrom4([4]byte{byte(rand.Int()), byte(rand.Int()), byte(rand.Int()), byte(rand.Int())})
			if _, err := table.Lookup(addrs[i]); err == nil {
				break
			}
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, _ = table.Lookup(addrs[i%len(addrs)])
		i++
	}
}

func BenchmarkOpen(b *testing.B) {
	if one, _ := town(b); one == nil {
		return
	}
	for b.Loop() {
		open(b, Config{})
	}
}
