package target

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/probe"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func tcp(ports ...uint16) Ports { return PortList(probe.TCP, ports...) }

// A naming is what a user might add or exclude, on a small line of addresses so that ranges overlap often.
type naming struct {
	first, last netip.Addr
	ports       Ports
	exclude     bool
}

func drawNaming(t *rapid.T) naming {
	base := rapid.SampledFrom([]string{"10.0.0.0", "fd00::fff0", "255.255.255.192", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffc0"}).Draw(t, "base")
	from := rapid.Uint64Range(0, 63).Draw(t, "from")
	size := rapid.Uint64Range(0, 63-from).Draw(t, "size")
	ports := rapid.SliceOfN(rapid.Uint16Range(1, 6), 1, 4).Draw(t, "ports")
	return naming{add(addr(base), from), add(addr(base), from+size), tcp(ports...), rapid.IntRange(0, 5).Draw(t, "kind") == 0}
}

// The model: a set of targets, built one by one.
func model(namings []naming) map[probe.Target]bool {
	set := map[probe.Target]bool{}
	each := func(n naming, do func(netip.Addr)) {
		for a := n.first; ; a = a.Next() {
			do(a)
			if a == n.last {
				return
			}
		}
	}
	out := map[netip.Addr]bool{}
	for _, n := range namings {
		if n.exclude {
			each(n, func(a netip.Addr) { out[a] = true })
		}
	}
	for _, n := range namings {
		if n.exclude {
			continue
		}
		each(n, func(a netip.Addr) {
			for j := range n.ports.Len() {
				proto, port := n.ports.At(j)
				if !out[a] {
					set[probe.Target{AddrPort: netip.AddrPortFrom(a, port), Proto: proto}] = true
				}
			}
		})
	}
	return set
}

func build(namings []naming) (Space, error) {
	var b Builder
	for _, n := range namings {
		if n.exclude {
			b.Exclude(n.first, n.last)
		} else {
			b.Add(n.first, n.last, n.ports)
		}
	}
	return b.Space()
}

func TestSpaceIsTheSetItWasBuiltFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		namings := rapid.SliceOfN(rapid.Custom(drawNaming), 1, 8).Draw(t, "namings")
		space, err := build(namings)
		if err != nil {
			t.Fatal(err)
		}
		want := model(namings)
		if space.Len() != uint64(len(want)) {
			t.Fatalf("the space has %d targets, the set %d", space.Len(), len(want))
		}
		hosts := map[netip.Addr]bool{}
		for i := range space.Len() {
			target := space.At(i)
			if !want[target] {
				t.Fatalf("At(%d) = %v, which is not of the set or came before", i, target)
			}
			delete(want, target)
			hosts[target.Addr()] = true
			if back, ok := space.Index(target); !ok || back != i {
				t.Fatalf("Index(At(%d)) = %d, %v", i, back, ok)
			}
		}
		checkHosts(t, space, hosts)
	})
}

func checkHosts(t *rapid.T, space Space, hosts map[netip.Addr]bool) {
	if space.Hosts() != uint64(len(hosts)) {
		t.Fatalf("%d hosts, want %d", space.Hosts(), len(hosts))
	}
	var before netip.Addr
	for r := range space.Hosts() {
		a := space.Host(r)
		if !hosts[a] || before.IsValid() && before.BitLen() == a.BitLen() && !before.Less(a) {
			t.Fatalf("Host(%d) = %v is not of the space, or not behind %v", r, a, before)
		}
		if back, ok := space.Rank(a); !ok || back != r {
			t.Fatalf("Rank(Host(%d)) = %d, %v", r, back, ok)
		}
		before = a
	}
}

func TestIndexKnowsStrangers(t *testing.T) {
	space, err := build([]naming{{addr("10.0.0.1"), addr("10.0.0.9"), tcp(80), false}, {addr("10.0.0.5"), addr("10.0.0.5"), Ports{}, true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"10.0.0.0:80", "10.0.0.10:80", "10.0.0.5:80", "10.0.0.1:81", "[::1]:80", "9.255.255.255:80"} {
		if i, ok := space.Index(probe.Target{AddrPort: netip.MustParseAddrPort(s)}); ok {
			t.Errorf("Index(%s) = %d, want none", s, i)
		}
	}
	if _, ok := space.Index(probe.Target{AddrPort: netip.MustParseAddrPort("10.0.0.1:80"), Proto: probe.UDP}); ok {
		t.Error("a UDP target was found in a TCP space")
	}
}

func TestSplitPartsPublicFromSpecial(t *testing.T) {
	var b Builder
	b.Add(addr("9.255.255.0"), addr("10.0.0.255"), tcp(80))
	b.Add(addr("10.0.0.0"), addr("10.0.0.255"), tcp(81))
	b.Add(addr("::1"), addr("::1"), tcp(22))
	b.Add(addr("fe80::1%eth0"), addr("fe80::1%eth0"), tcp(22))
	b.Add(addr("2606::1"), addr("2606::2"), tcp(22))
	special, public, _, err := b.Split()
	if err != nil {
		t.Fatal(err)
	}
	if special.Hosts() != 258 || public.Hosts() != 258 {
		t.Fatalf("%d special and %d public hosts, want 258 and 258", special.Hosts(), public.Hosts())
	}
	if ports := special.Ports(addr("10.0.0.0")); !ports.Equal(tcp(81)) {
		t.Errorf("10.0.0.0 has the ports %v, want those of its own target only", ports)
	}
	for _, s := range []string{"10.0.0.0", "10.0.0.255", "::1"} {
		if _, ok := special.Rank(addr(s)); !ok {
			t.Errorf("%s is not special", s)
		}
	}
	for _, s := range []string{"9.255.255.255", "2606::1"} {
		if _, ok := public.Rank(addr(s)); !ok {
			t.Errorf("%s is not public", s)
		}
	}
}

func TestZonesAreApart(t *testing.T) {
	var b Builder
	b.Add(addr("fe80::1%eth0"), addr("fe80::1%eth0"), tcp(22))
	b.Add(addr("fe80::1%eth1"), addr("fe80::1%eth1"), tcp(22))
	b.Add(addr("fe80::1%eth0"), addr("fe80::1%eth0"), tcp(23))
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	if space.Len() != 3 || space.Hosts() != 2 {
		t.Fatalf("%d targets on %d hosts, want 3 on 2", space.Len(), space.Hosts())
	}
	for i := range space.Len() {
		if back, ok := space.Index(space.At(i)); !ok || back != i {
			t.Errorf("Index(At(%d)) = %d, %v", i, back, ok)
		}
	}
}

// An exclusion without a zone is for every zone.
func TestZonesAreExcluded(t *testing.T) {
	var b Builder
	b.Add(addr("fe80::1%eth0"), addr("fe80::1%eth0"), tcp(22))
	b.Add(addr("fe80::2%eth0"), addr("fe80::2%eth0"), tcp(22))
	b.Exclude(addr("fe80::1"), addr("fe80::1"))
	if s, err := b.Space(); err != nil || s.Len() != 1 || s.At(0).Addr() != addr("fe80::2%eth0") {
		t.Errorf("%d targets, %v", s.Len(), err)
	}
	b.Exclude(addr("fe80::"), addr("fe80::ffff"))
	if s, err := b.Space(); err != nil || s.Len() != 0 {
		t.Errorf("%d targets, %v", s.Len(), err)
	}
}

func TestTooManyInTwoParts(t *testing.T) {
	var b Builder
	b.Add(addr("fd00::"), addr("fd00::7fff:ffff:ffff:ffff"), tcp(80))
	b.Add(addr("2a00::"), addr("2a00::7fff:ffff:ffff:ffff"), tcp(80))
	if _, _, _, err := b.Split(); !errors.Is(err, ErrTooMany) {
		t.Errorf("error %v, want ErrTooMany", err)
	}
}

func TestTooMany(t *testing.T) {
	for name, n := range map[string][]naming{
		"all of IPv6":         {{addr("::"), addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), tcp(1), false}},
		"exactly 2^64":        {{addr("fd00::"), addr("fd00::ffff:ffff:ffff:ffff"), tcp(1), false}},
		"by its ports":        {{addr("fd00::"), addr("fd00::7fff:ffff:ffff:ffff"), tcp(1, 2), false}},
		"by the sum of hosts": {{addr("fd00::"), addr("fd00::7fff:ffff:ffff:ffff"), tcp(1), false}, {addr("fd01::"), addr("fd01::7fff:ffff:ffff:ffff"), tcp(2), false}},
	} {
		if _, err := build(n); !errors.Is(err, ErrTooMany) {
			t.Errorf("%s: error %v, want ErrTooMany", name, err)
		}
	}
	space, err := build([]naming{{addr("fd00::"), addr("fd00::ffff:ffff:ffff:fffe"), tcp(1), false}})
	if err != nil || space.Len() != 1<<64-1 {
		t.Fatalf("2^64-1 targets: %d, %v", space.Len(), err)
	}
	last := space.At(space.Len() - 1)
	if i, ok := space.Index(last); !ok || i != space.Len()-1 {
		t.Errorf("the last target's number is %d, %v", i, ok)
	}
}

// However many ranges overlap, building stays quick: a list of a hundred thousand hosts, each with its own ports.
func TestManyTargets(t *testing.T) {
	var b Builder
	a := addr("10.0.0.0")
	for i := range 100_000 {
		b.Add(a, a, tcp(uint16(1+i%500), 443))
		a = a.Next()
	}
	b.Add(addr("10.0.0.0"), addr("10.255.255.255"), tcp(22))
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(1<<24 + 2*100_000 - 2*200); space.Len() != want {
		t.Errorf("%d targets, want %d", space.Len(), want)
	}
}

func TestNoAllocation(t *testing.T) {
	space, err := build([]naming{
		{addr("10.0.0.0"), addr("10.255.255.255"), tcp(22, 80, 443), false},
		{addr("10.1.0.0"), addr("10.1.0.255"), tcp(8080), false},
		{addr("fd00::"), addr("fd00::ffff"), tcp(22), false},
	})
	if err != nil {
		t.Fatal(err)
	}
	i := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		back, ok := space.Index(space.At(i))
		if !ok || back != i {
			t.Fatalf("Index(At(%d)) = %d", i, back)
		}
		i = (i*31 + 7) % space.Len()
	}); n != 0 {
		t.Errorf("At and Index allocate %v times", n)
	}
}

func BenchmarkAt(b *testing.B) {
	space, err := build([]naming{{addr("10.0.0.0"), addr("10.255.255.255"), tcp(22, 80, 443), false}})
	if err != nil {
		b.Fatal(err)
	}
	for i := uint64(0); b.Loop(); i++ {
		space.At(i % space.Len())
	}
}

func BenchmarkIndex(b *testing.B) {
	space, err := build([]naming{{addr("10.0.0.0"), addr("10.255.255.255"), tcp(22, 80, 443), false}})
	if err != nil {
		b.Fatal(err)
	}
	t := space.At(12345678)
	for b.Loop() {
		space.Index(t)
	}
}
