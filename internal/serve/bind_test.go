package serve

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

var (
	v4loopback = netip.MustParseAddr("127.0.0.1")
	v6loopback = netip.MustParseAddr("::1")
	notOurs    = netip.MustParseAddr("203.0.113.77")
)

func TestBindTakesOnePortForAll(t *testing.T) {
	for range 20 {
		s, err := Bind(t.Context(), Want{Addrs: []netip.Addr{v4loopback, v6loopback}, TCP: true, UDP: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var bound []netip.AddrPort
		for _, l := range s.TCP {
			bound = append(bound, addrPort(l.Addr()))
		}
		for _, u := range s.UDP {
			bound = append(bound, u.LocalAddr())
		}
		port := bound[0].Port()
		if port == 0 || slices.ContainsFunc(bound, func(a netip.AddrPort) bool { return a.Port() != port }) {
			t.Errorf("bound %v", bound)
		}
		if len(bound)+len(s.Missing) != 4 {
			t.Errorf("bound %v, missing %v", bound, s.Missing)
		}
	}
}

func TestBindSaysWhatIsInUse(t *testing.T) {
	whole, err := Bind(t.Context(), Want{Addrs: []netip.Addr{v4loopback}, TCP: true, UDP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	taken := whole.UDP[0].LocalAddr()
	_ = whole.TCP[0].Close() // the UDP half stays
	_, err = Bind(t.Context(), Want{Addrs: []netip.Addr{v4loopback}, Port: taken.Port(), TCP: true, UDP: true})
	var e *BindError
	if !errors.As(err, &e) || e.Proto != probe.UDP || e.Addr != taken || !sock.IsInUse(err) {
		t.Fatalf("Bind: %v", err)
	}
	l, err := net.Listen("tcp", taken.String())
	if err != nil {
		t.Fatal("a failed Bind must leave nothing bound:", err)
	}
	_ = l.Close()
}

func TestBindGoesOnWithoutAnAddressThatIsNotThere(t *testing.T) {
	s, err := Bind(t.Context(), Want{Addrs: []netip.Addr{notOurs, v4loopback}, TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.TCP) != 1 || len(s.Missing) != 1 || !sock.IsNoAddress(s.Missing[0]) {
		t.Errorf("%d bound, missing %v", len(s.TCP), s.Missing)
	}
	for _, addrs := range [][]netip.Addr{{notOurs}, {notOurs, notOurs.Next()}} {
		if _, err := Bind(t.Context(), Want{Addrs: addrs, TCP: true}); !sock.IsNoAddress(err) {
			t.Errorf("none of %v is ours: %v", addrs, err)
		}
	}
}

func TestBindWildcardsBesideEachOther(t *testing.T) {
	s, err := Bind(t.Context(), Want{Addrs: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, TCP: true, UDP: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
