package target

import (
	"net/netip"
	"strings"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
)

// What the registries say of single addresses, those at the edges of blocks among them.
func TestBlocks(t *testing.T) {
	for text, want := range map[string]string{
		"0.0.0.0": "this network", "0.255.255.255": "this network", "1.0.0.0": "",
		"9.255.255.255": "", "10.0.0.0": "private use", "10.255.255.255": "private use", "11.0.0.0": "",
		"100.63.255.255": "", "100.64.0.0": "shared address space", "100.127.255.255": "shared address space", "100.128.0.0": "",
		"172.15.255.255": "", "172.31.255.255": "private use", "172.32.0.0": "",
		"192.0.0.8": "IETF protocol assignments", "192.0.0.9": "", "192.0.0.10": "", "192.0.0.11": "IETF protocol assignments",
		"192.0.1.0": "", "192.31.196.1": "", "192.52.193.1": "", "192.175.48.1": "", "198.17.255.255": "", "198.19.255.255": "benchmarking",
		"223.255.255.255": "", "224.0.0.0": "multicast", "240.0.0.0": "reserved", "255.255.255.255": "reserved",
		"::": "unspecified address", "::1": "loopback", "::2": "", "64:ff9b::808:808": "", "64:ff9b:1::": "IPv4-IPv6 translation",
		"100::": "discard only", "100:0:0:1::": "dummy prefix", "100:0:0:2::": "",
		"2001::": "IETF protocol assignments", "2001:1::1": "", "2001:1::4": "IETF protocol assignments", "2001:2::": "IETF protocol assignments",
		"2001:3::": "", "2001:4:112::": "", "2001:10::": "IETF protocol assignments", "2001:2f:ffff::": "", "2001:3f::": "", "2001:40::": "IETF protocol assignments",
		"2001:1ff::": "IETF protocol assignments", "2001:200::": "", "2001:db8::1": "documentation", "2002::1": "6to4", "2620:4f:8000::1": "",
		"3fff:fff::": "documentation", "3fff:1000::": "", "5f00::1": "segment routing identifiers",
		"fdff::": "unique local", "fe80::1": "link local", "fec0::1": "site local, deprecated", "ff02::1": "multicast",
	} {
		b, special := blockOf(addr(text))
		if got := b.name; got != want || special != (want != "") {
			t.Errorf("%s is in %q, want %q", text, got, want)
		}
	}
}

// The table is in order, and only a reachable entry lies in another, which comes before it.
func TestBlocksNest(t *testing.T) {
	for i, b := range blocks {
		if b.Masked() != b.Prefix {
			t.Errorf("%v has bits behind its length", b.Prefix)
		}
		for _, earlier := range blocks[:i] {
			if b.Overlaps(earlier.Prefix) && (!b.reachable || earlier.reachable || earlier.Bits() > b.Bits()) {
				t.Errorf("%v and %v overlap", earlier.Prefix, b.Prefix)
			}
		}
		if inside, _ := blockOf(b.Addr()); inside != b {
			t.Errorf("%v lies in %v", b.Addr(), inside.Prefix)
		}
	}
}

// Every IPv4 address is scanned or left out, and none is both.
func TestWholeInternet(t *testing.T) {
	var b Builder
	b.Add(addr("0.0.0.0"), addr("255.255.255.255"), tcp(80))
	special, public, left, err := b.Split()
	if err != nil {
		t.Fatal(err)
	}
	// The count is that of zmap's list of the same blocks, and two that are reachable inside one.
	if public.Hosts() != 3_702_258_432+2 || special.Hosts() != 0 {
		t.Errorf("%d public addresses and %d special ones", public.Hosts(), special.Hosts())
	}
	var out netipx.IPSetBuilder
	n := public.Hosts()
	for _, l := range left {
		for _, r := range l.parts {
			size, _ := count(r.From(), r.To())
			n += size
			out.AddRange(r)
		}
	}
	if n != 1<<32 {
		t.Errorf("%d addresses are scanned or left out", n)
	}
	set, err := out.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.Ranges() {
		for _, a := range []netip.Addr{r.From().Prev(), r.From(), r.To(), r.To().Next()} {
			if _, scanned := public.Rank(a); a.IsValid() && scanned == set.Contains(a) {
				t.Errorf("%v: scanned %v, left out %v", a, scanned, !scanned)
			}
		}
	}
}

// drawEdgeNaming is drawNaming where special-purpose blocks begin, end and lie beside each other.
func drawEdgeNaming(base netip.Addr) func(*rapid.T) naming {
	return func(t *rapid.T) naming {
		n := drawNaming(t)
		from := rapid.Uint64Range(0, 63).Draw(t, "at")
		size := rapid.Uint64Range(0, 63-from).Draw(t, "addresses")
		n.first, n.last = add(base, from), add(base, from+size)
		return n
	}
}

// inOneBlock reports whether all addresses of a naming are in one block, or it has one address only.
func (n naming) inOneBlock() bool {
	for a := n.first; a != n.last; a = a.Next() {
		in := func(a netip.Addr) (p netip.Prefix) {
			for _, b := range blocks {
				if !b.reachable && b.Contains(a) {
					p = b.Prefix
				}
			}
			return p
		}
		if p := in(a); !p.IsValid() || p != in(a.Next()) {
			return false
		}
	}
	return true
}

// What is special is scanned where a naming of its own names it, and left out where only wider ones hold it; what is public is scanned
// however it is named.
func TestSplitLeavesOutWhatNobodyNamed(t *testing.T) {
	bases := []string{"9.255.255.224", "10.255.255.224", "192.0.0.0", "191.255.255.240", "223.255.255.224", "239.255.255.224", "255.255.255.192", "::", "100::ffff:ffff:ffff:ffe0", "2001:0:ffff:ffff:ffff:ffff:ffff:fff0"}
	rapid.Check(t, func(t *rapid.T) {
		base := addr(rapid.SampledFrom(bases).Draw(t, "base"))
		namings := rapid.SliceOfN(rapid.Custom(drawEdgeNaming(base)), 1, 6).Draw(t, "namings")
		var b Builder
		for _, n := range namings {
			if n.exclude {
				b.Exclude(n.first, n.last)
			} else {
				b.Add(n.first, n.last, n.ports)
			}
		}
		special, public, left, err := b.Split()
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(64) {
			checkSplit(t, add(base, i), namings, special, public, left)
		}
	})
}

func checkSplit(t *rapid.T, a netip.Addr, namings []naming, special, public Space, left []LeftOut) {
	var meant, all Ports
	out := false
	for _, n := range namings {
		switch {
		case a.Less(n.first) || n.last.Less(a):
		case n.exclude:
			out = true
		default:
			all = all.Union(n.ports)
			if n.inOneBlock() {
				meant = meant.Union(n.ports)
			}
		}
	}
	var none, wantSpecial, wantPublic Ports
	_, isSpecial := blockOf(a)
	switch {
	case out:
		all = none
	case isSpecial:
		wantSpecial = meant
	default:
		wantPublic = all
	}
	if got := special.Ports(a); !got.Equal(wantSpecial) {
		t.Fatalf("%v: %v as special, want %v", a, got, wantSpecial)
	}
	if got := public.Ports(a); !got.Equal(wantPublic) {
		t.Fatalf("%v: %v as public, want %v", a, got, wantPublic)
	}
	told := 0
	for _, l := range left {
		for _, r := range l.parts {
			if r.Contains(a) {
				told++
			}
		}
	}
	if want := all.Len() > 0 && wantSpecial.Len()+wantPublic.Len() == 0; told > 1 || told == 1 != want {
		t.Fatalf("%v is told %d times as left out, want %v", a, told, want)
	}
}

func TestLeftOutInWords(t *testing.T) {
	for _, c := range []struct{ targets, want string }{
		{"8.0.0.0/6", "10.0.0.0/8 (private use)"},
		{"8.0.0.0/6 10.0.0.0/8", ""},
		{"8.0.0.0/6 10.1.0.0/16", "parts of 10.0.0.0/8 (private use)"},
		{"8.0.0.0/6 10.0.0.0/9", "10.128.0.0/9 (private use)"},
		{"9.0.0.0/8 8.255.255.0-10.0.0.2", "10.0.0.0-10.0.0.2 (private use)"},
		{"0.0.0.0/5 8.0.0.0/5 9.9.9.9-10.9.9.9", "0.0.0.0/8 (this network); 10.0.0.0/8 (private use)"},
		{"224.0.0.0/3", "224.0.0.0/4 (multicast); 240.0.0.0/4 (reserved)"},
		{"10.1.0.0/16 127.0.0.1 198.18.0.0/15 192.0.0.0/24 255.255.255.255 fe80::1%eth0", ""},
		{"192.31.196.0/24 192.175.48.0/24 64:ff9b::/96", ""},
		{"::/127", "::/128 (unspecified address); ::1/128 (loopback)"},
		{"ffff::-ffff::9", ""},
	} {
		var b Builder
		for word := range strings.FieldsSeq(c.targets) {
			s, err := ParseTarget(word, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			b.Add(s.First, s.Last, tcp(80))
		}
		_, _, left, err := b.Split()
		var words []string
		for _, l := range left {
			words = append(words, l.String()+" ("+l.Name+")")
		}
		if got := strings.Join(words, "; "); err != nil || got != c.want {
			t.Errorf("%s: %q is left out, want %q; %v", c.targets, got, c.want, err)
		}
	}
}

func TestSpecMeans(t *testing.T) {
	for _, c := range []struct {
		target, addr string
		want         bool
	}{
		{"10.0.0.0/24", "10.0.0.255", true}, {"8.0.0.0/6", "10.0.0.255", false}, {"8.0.0.0/6", "9.0.0.255", true}, {"10.0.0.0/24", "10.0.1.0", false},
	} {
		s, err := ParseTarget(c.target, 0, nil)
		if err != nil || s.Means(addr(c.addr)) != c.want {
			t.Errorf("%s means %s: %v, want %v; %v", c.target, c.addr, !c.want, c.want, err)
		}
	}
}
