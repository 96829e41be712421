package ping

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

func TestMain(m *testing.M) {
	lab.Main()
	goleak.VerifyTestMain(m)
}

// list hands out its probes, once each.
type list struct {
	mu     sync.Mutex
	probes []probe.Probe
}

func (l *list) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := copy(buf, l.probes)
	l.probes = l.probes[n:]
	return n, n > 0 && ctx.Err() == nil
}

func asking(attempt uint8, addrs ...netip.Addr) *list {
	l := &list{}
	for _, a := range addrs {
		t := probe.Target{AddrPort: netip.AddrPortFrom(a, 1), Proto: probe.Echo}
		l.probes = append(l.probes, probe.Probe{Target: t, Attempt: attempt})
	}
	return l
}

// answers is what was reported, and fails the test when a probe is reported twice.
func answers(t *testing.T, p *Prober, due probe.Due) map[netip.Addr]probe.Result {
	t.Helper()
	all := map[netip.Addr]probe.Result{}
	err := p.Probe(t.Context(), due, func(r probe.Result) {
		if _, again := all[r.Target.Addr()]; again {
			t.Errorf("%v is reported twice", r.Target)
		}
		all[r.Target.Addr()] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
