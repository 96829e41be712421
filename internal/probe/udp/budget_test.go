package udp

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// A limit is a host's bucket of refusals.
type limit struct {
	burst     float64
	perSecond float64
	tokens    float64
	last      time.Time
}

func (l *limit) allows() bool {
	now := time.Now()
	if l.last.IsZero() {
		l.tokens = l.burst
	} else {
		l.tokens = min(l.burst, l.tokens+now.Sub(l.last).Seconds()*l.perSecond)
	}
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

type count struct{ closed, other int }

// Put implements scan.Sink.
func (c *count) Put(answers []probe.Result) error {
	for _, r := range answers {
		if r.State == probe.Closed {
			c.closed++
		} else {
			c.other++
		}
	}
	return nil
}

// scanLimited scans ports of limited hosts as the program does, of which every closedOf-th is closed and the others are silent.
func scanLimited(t *testing.T, hosts, ports, closedOf int, perSecond, burst float64) (*count, scan.Summary, time.Duration) {
	t.Helper()
	limits := map[netip.Addr]*limit{}
	w := newWire(func(w *wire, to netip.AddrPort, _ []byte) error {
		l := limits[to.Addr()]
		if l == nil {
			l = &limit{burst: burst, perSecond: perSecond}
			limits[to.Addr()] = l
		}
		if int(to.Port())%closedOf == 0 && l.allows() {
			w.hear(closed(to), time.Millisecond)
		}
		return nil
	})
	p, err := target.ParsePorts(fmt.Sprintf("U:1-%d", ports), probe.UDP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b target.Builder
	first := netip.MustParseAddr("192.0.2.1")
	last := first
	for range hosts - 1 {
		last = last.Next()
	}
	b.Add(first, last, p)
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := scan.NewPlan(space, 1)
	plan.Attempts, plan.Timeout = 4, time.Second
	sink, start := &count{}, time.Now()
	s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: w.prober(time.Second), Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	return sink, s, time.Since(start)
}

// A host that limits its refusals is asked about as fast as it bears, and not much faster.
func TestBudgets(t *testing.T) {
	for _, c := range []struct {
		name             string
		hosts, ports     int
		closedOf         int
		perSecond, burst float64
		least            float64 // of the closed ports that are to be found
		most             time.Duration
	}{
		{"Linux, 20 ports", 3, 20, 1, 1, 6, 1, 40 * time.Second},
		{"Linux, 100 ports", 1, 100, 1, 1, 6, 1, 130 * time.Second},
		{"Linux, 100 ports, 20 hosts", 20, 100, 1, 1, 6, 1, 130 * time.Second},
		{"Linux, 1000 ports", 1, 1000, 1, 1, 6, .99, 1300 * time.Second},
		{"Linux, IPv6 on a link, 100 ports", 1, 100, 1, 4, 6, .99, 60 * time.Second},
		{"BSD, 5000 ports", 1, 5000, 1, 200, 200, .99, 60 * time.Second},
		{"no limit, 5000 ports", 1, 5000, 1, 1e9, 1e9, 1, 5 * time.Second},
		{"Linux behind a firewall, 1000 ports, 10 closed", 1, 1000, 100, 1, 6, 1, 60 * time.Second},
		{"Linux behind a firewall, 1000 ports, 100 closed", 1, 1000, 10, 1, 6, .9, 900 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, s, took := scanLimited(t, c.hosts, c.ports, c.closedOf, c.perSecond, c.burst)
				shut := c.hosts * (c.ports / c.closedOf)
				t.Logf("%d of %d closed ports in %v, %d probes", got.closed, shut, took, s.Probes)
				if float64(got.closed) < c.least*float64(shut) || got.other > 0 || took > c.most {
					t.Errorf("%d of %d closed ports in %v", got.closed, shut, took)
				}
			})
		})
	}
}
