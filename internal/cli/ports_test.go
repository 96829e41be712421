package cli

import (
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
	"sonde/internal/target"
)

func portsOf(t *testing.T, f serverFlags) target.Ports {
	t.Helper()
	set, err := f.portSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestPortsAreThoseOfTheProtocolsServed(t *testing.T) {
	for want, f := range map[string]serverFlags{
		"T:80-82,U:80-82": {ports: "80-82"},
		"80-82":           {ports: "80-82", tcp: true},
		"U:80-82":         {ports: "80-82", udp: true},
		"80":              {ports: "80", tls: tlsFlags{made: true}},
		"T:80,U:53":       {ports: "T:80,U:53"},
		"22":              {ports: "T:22,U:53", tcp: true},
	} {
		if got := portsOf(t, f).String(); got != want {
			t.Errorf("%s: %s, want %s", f.ports, got, want)
		}
	}
}

// TestPortsThatFit: the number that is told fits, and one more does not.
func TestPortsThatFit(t *testing.T) {
	for _, f := range []serverFlags{{}, {tcp: true}, {udp: true}} {
		f.ports = "1-1000"
		err := checkFiles(portsOf(t, f), 2, 72, 500)
		if err == nil {
			t.Fatal("they should not fit")
		}
		_, words, _ := strings.Cut(err.Error(), "enough for ")
		n, _, _ := strings.Cut(words, " ")
		f.ports = "1-" + n
		if err := checkFiles(portsOf(t, f), 2, 72, 500); err != nil {
			t.Errorf("%s ports do not fit: %v", n, err)
		}
		f.ports += ",5000"
		if checkFiles(portsOf(t, f), 2, 72, 500) == nil {
			t.Errorf("one more than %s fits", n)
		}
	}
}

func TestFailuresAreToldByReason(t *testing.T) {
	failed := func(proto probe.Proto, addr string, err syscall.Errno) *serve.BindError {
		return &serve.BindError{Proto: proto, Addr: netip.MustParseAddrPort(addr), Err: os.NewSyscallError("bind", err)}
	}
	groups := groupFailed([]*serve.BindError{
		failed(probe.TCP, "127.0.0.1:22", syscall.EACCES), failed(probe.TCP, "127.0.0.1:23", syscall.EACCES),
		failed(probe.TCP, "127.0.0.1:80", sock.ErrInUse), failed(probe.TCP, "127.0.0.1:25", syscall.EACCES),
		failed(probe.TCP, "[::1]:80", sock.ErrInUse), failed(probe.UDP, "[::1]:80", sock.ErrInUse), failed(probe.UDP, "[::1]:81", syscall.EMFILE),
	})
	var got []string
	for _, g := range groups {
		got = append(got, g.reason+": "+g.where())
		if g.next == "" {
			t.Errorf("%s has no next step", g.reason)
		}
	}
	want := []string{"no permission: tcp 127.0.0.1:22-23,25", "in use by another program: tcp 127.0.0.1:80, tcp [::1]:80, udp [::1]:80",
		"this machine has no room for more (bind: too many open files): udp [::1]:81"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPrefixes(t *testing.T) {
	var p prefixes
	for _, list := range []string{"10.0.0.0/8, 192.0.2.7", "::ffff:198.51.100.0/120,2001:db8::/32", "::ffff:203.0.113.9"} {
		if err := p.Set(list); err != nil {
			t.Errorf("%s: %v", list, err)
		}
	}
	access := serve.Access{Allow: p.set}
	for addr, in := range map[string]bool{"10.255.0.1": true, "11.0.0.1": false, "192.0.2.7": true, "192.0.2.8": false, "198.51.100.77": true,
		"::ffff:198.51.100.77": true, "198.51.101.1": false, "2001:db8::1": true, "2001:db9::1": false, "203.0.113.9": true, "::ffff:10.1.1.1": true} {
		if access.Permits(netip.MustParseAddr(addr)) != in {
			t.Errorf("%s: permitted: %v", addr, !in)
		}
	}
	for _, word := range []string{"", " ", ",", "10.0.0.0/8,", "10.0.0.1/8", "10.0.0.0/33", "nobody", "fe80::1%lo", "fe80::%lo/64", "::ffff:10.0.0.1/104", "10.0.0.0-10.0.0.9"} {
		if _, err := parsePrefix(strings.TrimSpace(word)); err == nil {
			t.Errorf("%q is taken", word)
		}
	}
}

func FuzzParsePrefix(f *testing.F) {
	for _, word := range []string{"10.0.0.0/8", "::1", "::ffff:10.0.0.0/104", "fe80::1%lo", "1.2.3.4/32"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		p, err := parsePrefix(word)
		if err != nil {
			return
		}
		if p != p.Masked() || !p.IsValid() || p.Addr().Is4In6() && p.Bits() >= 96 {
			t.Errorf("%q is %v", word, p)
		}
		if again, err := parsePrefix(p.String()); err != nil || again != p {
			t.Errorf("%q is written %v, which is read as %v, %v", word, p, again, err)
		}
	})
}

// TestPresentAddresses: descriptors are counted for addresses that this machine has; if it has none there is still one to be told of.
func TestPresentAddresses(t *testing.T) {
	own, other := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("203.0.113.77")
	if n := present([]netip.Addr{own, other}); n != 1 {
		t.Errorf("%d are counted", n)
	}
	if n := present([]netip.Addr{other}); n != 1 {
		t.Errorf("of none %d are counted", n)
	}
}
