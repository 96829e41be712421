package route

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "IPv4") {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
	}
	a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")))
	return a.Unmap()
}

// No prefix ends or begins within a stretch: two addresses of one stretch are in the same prefixes.
func TestStretchesRespectPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cuts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := drawAddr(t)
			return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "length"))
		}), 0, 20).Draw(t, "cuts")
		starts := boundaries(cuts)
		if !slices.IsSortedFunc(starts, key.compare) || starts[0] != (key{}) {
			t.Fatalf("starts %x", starts)
		}
		all := slices.Clone(cuts)
		for _, s := range special {
			all = append(all, netip.MustParsePrefix(s))
		}
		representative := map[int]netip.Addr{}
		see := func(a netip.Addr) {
			n := find(starts, keyOf(a))
			if keyOf(a).less(starts[n]) || n+1 < len(starts) && !keyOf(a).less(starts[n+1]) {
				t.Fatalf("%v is not in stretch %d", a, n)
			}
			other, met := representative[n]
			if !met {
				representative[n] = a
				return
			}
			for _, p := range all {
				if p.Contains(a) != p.Contains(other) {
					t.Fatalf("%v and %v share a stretch, and %v has one of them", a, other, p)
				}
			}
		}
		for _, p := range cuts {
			first := p.Masked().Addr()
			for _, a := range []netip.Addr{first, first.Prev(), first.Next(), p.Addr()} {
				if a.IsValid() {
					see(a)
				}
			}
		}
		for range 20 {
			see(drawAddr(t))
		}
	})
}

func TestPast(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.0.0.0/8": "11.0.0.0", "10.255.0.0/16": "11.0.0.0", "192.0.2.7/32": "192.0.2.8", "0.0.0.0/0": "::1:0:0:0",
		"fe80::/10": "fec0::", "2001:db8::ffff:ffff:ffff:ffff/128": "2001:db8:0:1::", "2001:db8:ffff:ffff::/64": "2001:db9::", "::/128": "::1",
		"ff00::/8": "", "::/0": "",
	} {
		k, ok := past(netip.MustParsePrefix(prefix))
		if ok != (want != "") || ok && k != keyOf(netip.MustParseAddr(want)) {
			t.Errorf("past %s is %x %v, want %s", prefix, k, ok, want)
		}
	}
}

func TestKeysOfIPv4(t *testing.T) {
	for _, s := range []string{"0.0.0.0", "192.0.2.1", "255.255.255.255"} {
		a := netip.MustParseAddr(s)
		if k := keyOf(a); k != keyOf(netip.AddrFrom16(a.As16())) {
			t.Errorf("%s is %x", s, k)
		}
	}
}
