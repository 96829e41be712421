package banner

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

func asking(addr netip.Addr, ports ...uint16) *list {
	l := &list{}
	for _, p := range ports {
		l.probes = append(l.probes, probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(addr, p)}, Attempt: 1})
	}
	return l
}

// talkTo returns what was reported of ports of one address, and fails the test when one is reported twice.
func talkTo(t *testing.T, p *Prober, addr netip.Addr, ports ...uint16) map[uint16]probe.Result {
	t.Helper()
	all := map[uint16]probe.Result{}
	err := p.Probe(t.Context(), asking(addr, ports...), func(r probe.Result) {
		if _, again := all[r.Target.Port()]; again || r.Method != probe.Converse || r.Attempt != 1 || r.Target.Addr() != addr {
			t.Errorf("%+v, reported twice: %v", r, again)
		}
		all[r.Target.Port()] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
