package measure

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sonde/internal/dial"
	"sonde/internal/lab"
	"sonde/internal/probe"
)

// What our own firewall keeps back was not sent, and is not the server's doing; it is told once.
func TestOwnFirewall(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	host := network.Host(t, lab.Config{})
	network.Filter(t, lab.Rule{Ports: lab.Port(300), Do: lab.Drop, Proto: probe.UDP})
	var told []string
	fates := map[Fate]int{}
	r := measured(t, Plan{Count: 5, Rate: 1000, Timeout: time.Hour,
		Dial: func(ctx context.Context) (net.Conn, Phases, error) {
			conn, err := dial.Dialer{}.DialUDP(ctx, netip.AddrPortFrom(host.IPv4, 300))
			return conn, Phases{}, err
		},
		Event: func(e Event) {
			if e.Kind == Refused {
				told = append(told, e.Err.Error())
			}
		},
		Reply: func(r Reply) { fates[r.Fate]++ },
	})
	if r.Unsent != 5 || r.Broken != 0 || fates[Unsent] != 5 {
		t.Errorf("%+v, %v", r.Counts, fates)
	}
	if len(told) != 1 || !strings.Contains(told[0], "this machine's own firewall refused to send to") {
		t.Errorf("told %q", told)
	}
}
