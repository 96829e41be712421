package talk

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sonde/internal/dial"
	"sonde/internal/lab"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// What a firewall and this machine itself say of a datagram is told for what it is, and by whom.
func TestWhoRefuses(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	host := network.Host(t, lab.Config{Sysctls: lab.NoICMPLimits()})
	network.Filter(t,
		lab.Rule{Proto: probe.UDP, Ports: lab.Port(300), Do: lab.Drop},
		lab.Rule{Proto: probe.UDP, Ports: lab.Port(301), Do: lab.PortUnreach},
	)
	for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
		for port, want := range map[uint16]string{
			5:   "nobody listens there: ICMP port unreachable from HOST",
			300: "this machine's own firewall refused to send to TO",
			301: "this machine's own firewall refused to send to TO",
		} {
			to := netip.AddrPortFrom(addr, port)
			if s := sayHello(t, to, 5*time.Second); s.How != worded(want, to) {
				t.Errorf("udp %v: %q, want %q", to, s.How, worded(want, to))
			}
		}
	}
	testNoNeighbor(t, host.IPv4)
}

func sayHello(t *testing.T, to netip.AddrPort, wait time.Duration) Summary {
	t.Helper()
	conn, err := dial.Dialer{}.DialUDP(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	return Conversation{Wait: wait}.Datagrams(context.Background(), conn, input("hello\n"), &recorder{})
}

// worded fills in the words' addresses.
func worded(words string, to netip.AddrPort) string {
	return strings.NewReplacer("TO", to.String(), "HOST", to.Addr().String()).Replace(words)
}

// Nobody on the link has the address: no host says so, but this machine.
func testNoNeighbor(t *testing.T, on netip.Addr) {
	four := on.As4()
	four[3] = 77
	to := netip.AddrPortFrom(netip.AddrFrom4(four), 80)
	s := sayHello(t, to, 10*time.Second)
	if s.Ending != sock.Failed {
		t.Errorf("udp %v: %v", to, s.Ending)
	}
	wantContains(t, s.How, "the datagram did not arrive: "+to.Addr().String()+", or the gateway to it, does not answer on the link")
}
