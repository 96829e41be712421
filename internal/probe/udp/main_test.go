package udp

import (
	"context"
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

// Next implements probe.Due.
func (l *list) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := copy(buf, l.probes)
	l.probes = l.probes[n:]
	return n, n > 0 && ctx.Err() == nil
}

// answers is what was reported of each target, and fails the test when a probe is reported twice, or never.
func answers(t testing.TB, p *Prober, probes ...probe.Probe) map[probe.Target]probe.Result {
	t.Helper()
	all := map[probe.Target]probe.Result{}
	err := p.Probe(t.Context(), &list{probes: probes}, func(r probe.Result) {
		if _, again := all[r.Target]; again {
			t.Errorf("%v is reported twice", r.Target)
		}
		all[r.Target] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(probes) {
		t.Errorf("%d of %d probes are reported", len(all), len(probes))
	}
	return all
}

// inPasses hands out a list of probes when those before it are all accounted for.
type inPasses struct {
	passes [][]probe.Probe
	out    int
	over   chan struct{}
}

// Next implements probe.Due.
func (d *inPasses) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	for len(d.passes) > 0 && len(d.passes[0]) == 0 {
		for ; d.out > 0; d.out-- {
			select {
			case <-d.over:
			case <-ctx.Done():
				return 0, false
			}
		}
		d.passes = d.passes[1:]
	}
	if len(d.passes) == 0 || ctx.Err() != nil {
		return 0, false
	}
	n := copy(buf, d.passes[0])
	d.passes[0] = d.passes[0][n:]
	d.out += n
	return n, true
}
