package dial

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/sock"
)

// What a router, a firewall and this machine itself say is told for what it is, and by whom.
func TestWhoRefuses(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	host := network.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Port(80)}},
		Rules: []lab.Rule{
			{Ports: lab.Port(100), Do: lab.PortUnreach},
			{Ports: lab.Port(101), Do: lab.NetUnreach},
			{Ports: lab.Port(102), Do: lab.AdminProhibited},
			{Ports: lab.Port(103), Do: lab.HostUnreach},
		},
		Sysctls: lab.NoICMPLimits(),
	})
	network.Filter(t,
		lab.Rule{Ports: lab.Port(200), Do: lab.PortUnreach},
		lab.Rule{Ports: lab.Port(201), Do: lab.AdminProhibited},
	)
	for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
		for port, want := range map[uint16]string{
			5:   "connection refused by TO: a host is there, nobody listens on this port",
			100: "TO cannot be reached: ICMP port unreachable from HOST",
			101: "TO cannot be reached: ICMP network unreachable from HOST",
			102: "TO cannot be reached: ICMP administratively prohibited from HOST",
			103: "TO cannot be reached: ICMP host unreachable from HOST",
			200: "this machine's own firewall refused to send to TO",
			201: "this machine's own firewall refused to send to TO",
		} {
			to := netip.AddrPortFrom(addr, port)
			_, err := Dialer{}.DialTCP(t.Context(), to)
			var e *Error
			if !errors.As(err, &e) || e.Error() != worded(want, to) || (port == 5) != (e.Ending == sock.Reset) {
				t.Errorf("tcp %v: %v, want %s", to, err, worded(want, to))
			}
		}
		testConnectionIsGivenBack(t, netip.AddrPortFrom(addr, 80))
	}
	testNoNeighbor(t, host.IPv4)
}

// worded fills in the words' addresses.
func worded(words string, to netip.AddrPort) string {
	return strings.NewReplacer("TO", to.String(), "HOST", to.Addr().String()).Replace(words)
}

// An ICMP error must not end a connection that stands (RFC 1122 section 4.2.3.9).
func testConnectionIsGivenBack(t *testing.T, to netip.AddrPort) {
	conn, err := Dialer{}.DialTCP(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		level, option := unix.SOL_IP, unix.IP_RECVERR
		if to.Addr().Is6() {
			level, option = unix.SOL_IPV6, unix.IPV6_RECVERR
		}
		if on, err := unix.GetsockoptInt(int(fd), level, option); on != 0 || err != nil {
			t.Errorf("%v: the error queue is on (%d), %v", to, on, err)
		}
	})
}

// Nobody on the link has the address: no host says so, but this machine.
func testNoNeighbor(t *testing.T, on netip.Addr) {
	four := on.As4()
	four[3] = 77
	to := netip.AddrPortFrom(netip.AddrFrom4(four), 80)
	_, err := Dialer{}.DialTCP(t.Context(), to)
	var e *Error
	if !errors.As(err, &e) || e.ICMP == nil || !e.ICMP.NoNeighbor() || e.Ending != sock.Failed {
		t.Fatalf("%v: %+v", to, err)
	}
	wantContains(t, err.Error(), to.Addr().String()+", or the gateway to it, does not answer on the link")
}

// A router on the way is the one who says so.
func TestRouterRefuses(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	router := network.Host(t, lab.Config{
		Rules:   []lab.Rule{{Ports: lab.Port(100), Do: lab.PortUnreach}, {Ports: lab.Port(101), Do: lab.NetUnreach}},
		Sysctls: lab.NoICMPLimits(),
	})
	host := router.Behind(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Range(100, 101)}}})
	for port, want := range map[uint16]string{100: "port unreachable", 101: "network unreachable"} {
		to := netip.AddrPortFrom(host.IPv4, port)
		_, err := Dialer{}.DialTCP(t.Context(), to)
		if err == nil || !strings.HasPrefix(err.Error(), to.String()+" cannot be reached: ICMP "+want+" from ") || strings.HasSuffix(err.Error(), host.IPv4.String()) {
			t.Errorf("%v: %v", to, err)
		}
	}
}
