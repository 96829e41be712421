package cli

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/target"
)

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func TestAddressesOfAName(t *testing.T) {
	mixed := addrs("2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2", "192.0.2.2")
	for _, c := range []struct {
		family
		want string
	}{
		{family{}, "192.0.2.1, 192.0.2.2, 2001:db8::1, 2001:db8::2"},
		{family{only4: true}, "192.0.2.1, 192.0.2.2"},
		{family{only6: true}, "2001:db8::1, 2001:db8::2"},
	} {
		got, err := c.choose("host.example", mixed)
		slices.SortStableFunc(got, byFamily)
		if err != nil || joinAddrs(got) != c.want {
			t.Errorf("%+v: %s, %v; want %s", c.family, joinAddrs(got), err, c.want)
		}
	}
	_, err := family{only6: true}.choose("host.example", addrs("192.0.2.1"))
	if err == nil || err.Error() != "hostname host.example has no IPv6 address" {
		t.Errorf("error %v", err)
	}
}

// A name's first address is scanned, and the others are told; or all are scanned.
func TestNamesWithSeveralAddresses(t *testing.T) {
	specs := []target.Spec{
		{Name: "many.example"}, {Name: "gone.example"}, {Name: "one.example"},
		{First: addrs("192.0.2.9")[0], Last: addrs("192.0.2.9")[0]},
		{Name: "many.example", Ports: target.PortList(0, 8080)}, {Name: "gone.example"},
	}
	errGone := errors.New("hostname gone.example could not be resolved: no such host")
	for _, c := range []struct {
		all       bool
		want      string
		unscanned int
	}{
		{false, "192.0.2.1 192.0.2.7 192.0.2.9 192.0.2.1:8080", 1},
		{true, "192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.7 192.0.2.9 192.0.2.1:8080 192.0.2.2:8080 2001:db8::1:8080", 0},
	} {
		answers := map[string]*answer{
			"many.example": {addrs: addrs("192.0.2.1", "192.0.2.2", "2001:db8::1")},
			"one.example":  {addrs: addrs("192.0.2.7")},
			"gone.example": {err: errGone},
		}
		f := &found{names: map[netip.Addr]string{}}
		s := &selection{all: c.all}
		var got []string
		for _, spec := range s.place(specs, answers, f) {
			text := spec.First.String()
			if spec.Ports.Len() > 0 {
				text += ":" + spec.Ports.String()
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("all %v: %s", c.all, diff)
		}
		if len(f.unresolved) != 1 || !errors.Is(f.unresolved[0], errGone) {
			t.Errorf("unresolved: %v, want gone.example once", f.unresolved)
		}
		if len(f.unscanned) != c.unscanned {
			t.Errorf("all %v: told %q", c.all, f.unscanned)
		}
		if !c.all && f.unscanned[0] != "many.example is scanned at 192.0.2.1; not at 192.0.2.2, 2001:db8::1 (--all-addresses)" {
			t.Errorf("told %q", f.unscanned)
		}
		if f.names[addrs("192.0.2.1")[0]] != "many.example" {
			t.Errorf("names %v", f.names)
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"http", "https", "ssh", "domain", "ports", "scan"}
	for word, want := range map[string]string{
		"htp": "http", "htpp": "http", "HTTP": "http", "prots": "ports", "scna": "scan", "domian": "domain",
		"sh": "ssh", "x": "", "zzzzzz": "", "": "",
	} {
		if got, _ := nearest(word, candidates); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2": 2 * time.Second, "0.5": 500 * time.Millisecond, "500ms": 500 * time.Millisecond, "1m30s": 90 * time.Second,
		"1e-3": time.Millisecond, "0": -1, "-1": -1, "-1s": -1, "": -1, "soon": -1, "NaN": -1, "Inf": -1, "1e12": -1, "9999999h": -1,
	} {
		got := time.Duration(-1)
		if err := (seconds{&got, time.Nanosecond}).Set(text); err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
	var zero time.Duration
	if err := (seconds{&zero, 0}).Set("0"); err != nil {
		t.Errorf("0 is refused where it may be: %v", err)
	}
}
