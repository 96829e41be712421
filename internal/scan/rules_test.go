package scan_test

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// A host whose refusals stop when too many are asked for is found out by its controls; a firewall that drops is not taken for one.
func TestLimitedRefusals(t *testing.T) {
	for _, limits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var asked atomic.Int32
			n := &network{timeout: time.Second, tells: true, answer: func(p probe.Probe) probe.State {
				if limits && asked.Add(1) > 6 || !limits && p.Port()%20 != 0 {
					return nothing
				}
				return probe.Filtered
			}}
			plan := newPlan(space(t, 1, "1-200"), 4)
			s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: n, Sink: &found{}})
			if err != nil {
				t.Fatal(err)
			}
			want := probe.NoResponse
			if limits {
				want = probe.RateLimited
			}
			for h := range s.EachHost() {
				if h.Reason != want || (s.Limited == 1) != limits {
					t.Errorf("limits %v: the silence is %v, %d hosts limit", limits, h.Reason, s.Limited)
				}
			}
			if n.controls == 0 {
				t.Error("no control was asked")
			}
		})
	}
}

// A host whose time is over keeps what was found, and holds up nobody.
func TestHostTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := netip.MustParseAddr("10.0.0.2")
		n := &network{timeout: time.Second, tells: true, answer: func(p probe.Probe) probe.State {
			if p.Addr() == slow && p.Port() > 10 {
				return nothing
			}
			return probe.Open
		}}
		plan := newPlan(space(t, 3, "1-100"), 4)
		plan.HostTimeout = 500 * time.Millisecond
		sink := &found{}
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: n, Sink: sink})
		if err != nil || s.Open != 210 || s.Undecided != 90 || s.GaveUp != 1 || s.Complete || s.Filtered != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		for h := range s.EachHost() {
			if h.GaveUp != (h.Addr == slow) || h.GaveUp && (h.Undecided.Len() != 90 || h.Silent.Len() != 0) {
				t.Errorf("%+v", h)
			}
		}
		if s.Elapsed > 2*time.Second {
			t.Errorf("it took %v", s.Elapsed)
		}
	})
}

// Recall goes on beyond two silent passes until what was heard bears it out, and stops when it does.
func TestRecall(t *testing.T) {
	asked := func(recall float64, attempts uint8, some bool) (passes uint32, e float64) {
		synctest.Test(t, func(t *testing.T) {
			n := &network{timeout: time.Second, tells: true, answer: func(p probe.Probe) probe.State {
				if some && p.Port() <= 6 {
					return probe.Open
				}
				return nothing
			}}
			plan, meter := newPlan(space(t, 1, "1-100"), attempts), &scan.Meter{}
			plan.Recall = recall
			s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: n, Sink: &found{}, Meter: meter})
			if err != nil {
				t.Fatal(err)
			}
			passes, e = meter.Pass.Load(), s.Missed.Recall()
		})
		return passes, e
	}
	if n, _ := asked(0, 30, true); n != 2 {
		t.Errorf("without --recall: %d passes", n)
	}
	n, e := asked(0.999, 30, true)
	if n <= 2 || n >= 30 || e < 0.999 {
		t.Errorf("recall 99.9 %%: %d passes, %v borne out", n, e)
	}
	if n, e := asked(0.999, 3, true); n != 3 || e >= 0.999 {
		t.Errorf("with 3 attempts: %d passes, %v borne out", n, e)
	}
	if n, _ := asked(0.999, 30, false); n != 2 {
		t.Errorf("nothing heard: %d passes", n)
	}
}

// A Mux gives each probe to the prober of its protocol, and a slow one does not keep the other from its own.
func TestMux(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := func(s probe.State) func(probe.Probe) probe.State { return func(probe.Probe) probe.State { return s } }
		tcp := &network{delay: time.Millisecond, answer: state(probe.Closed)}
		udp := &network{delay: time.Hour, answer: state(probe.Open)}
		space := mixed(t)
		plan, sink := newPlan(space, 2), &found{}
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: scan.Mux{probe.TCP: tcp, probe.UDP: udp}, Sink: sink})
		if err != nil || s.Closed != 300 || s.Open != 200 || !s.Complete {
			t.Fatalf("%+v, %v", s, err)
		}
		for target, r := range sink.answers {
			if (target.Proto == probe.UDP) != (r.State == probe.Open) {
				t.Errorf("%v is %v", target, r.State)
			}
		}
		if len(tcp.asked) != 300 || len(udp.asked) != 200 || s.Elapsed > 2*time.Hour {
			t.Errorf("asked %d and %d in %v", len(tcp.asked), len(udp.asked), s.Elapsed)
		}
	})
}

// The failure of one prober ends the scan.
func TestMuxFails(t *testing.T) {
	errBroken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(mixed(t), 1)
		waits := &network{delay: time.Hour, answer: func(probe.Probe) probe.State { return probe.Open }}
		_, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: scan.Mux{probe.TCP: broken{errBroken}, probe.UDP: waits}, Sink: &found{}})
		if !errors.Is(err, errBroken) {
			t.Errorf("%v", err)
		}
	})
}

type broken struct{ err error }

func (b broken) Probe(context.Context, probe.Due, func(probe.Result)) error { return b.err }

// mixed is 3 hosts with 100 TCP ports, 2 of them with 100 UDP ports.
func mixed(t *testing.T) target.Space {
	t.Helper()
	list := func(proto probe.Proto) target.Ports {
		var ports []uint16
		for p := range uint16(100) {
			ports = append(ports, p+1)
		}
		return target.PortList(proto, ports...)
	}
	var b target.Builder
	b.Add(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.3"), list(probe.TCP))
	b.Add(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), list(probe.UDP))
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Silent UDP ports are open|filtered, silent TCP ports filtered.
func TestSilenceByProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{timeout: time.Second, tells: true, answer: func(probe.Probe) probe.State { return nothing }}
		plan := newPlan(mixed(t), 2)
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: scan.Mux{probe.TCP: n, probe.UDP: n}, Sink: &found{}})
		if err != nil || s.Filtered != 300 || s.OpenFiltered != 200 || s.Unanswered != 500 || s.Undecided != 0 || !s.Complete {
			t.Fatalf("%+v, %v", s, err)
		}
	})
}

// What a middlebox accepted is withdrawn, but what is proved.
func TestWithdraw(t *testing.T) {
	plan := newPlan(space(t, 2, "1-10"), 1)
	s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: answers{probe.Open}, Sink: &found{}})
	if err != nil {
		t.Fatal(err)
	}
	var suspects []netip.Addr
	for addr := range s.Accepting(2) {
		suspects = append(suspects, addr)
	}
	if len(suspects) != 2 || s.OpenTCP(suspects[0]).Len() != 10 {
		t.Fatalf("%v accept", suspects)
	}
	verdicts := s.Withdraw(suspects[1], target.PortList(probe.TCP, 4))
	if len(verdicts) != 9 || s.Open != 11 || s.OpenFiltered != 9 || s.Middleboxes != 1 {
		t.Errorf("%d withdrawn: %+v", len(verdicts), s)
	}
	for _, r := range verdicts {
		if r.Target.Port() == 4 || r.Target.Addr() != suspects[1] || r.State != probe.OpenFiltered || r.Reason != probe.Middlebox {
			t.Errorf("%+v", r)
		}
	}
	for h := range s.EachHost() {
		if h.Middlebox != (h.Addr == suspects[1]) {
			t.Errorf("%+v", h)
		}
	}
}

func TestHighPorts(t *testing.T) {
	ports := scan.DrawHighPorts(7)
	if ports.Len() != scan.HighPorts || !ports.Equal(scan.DrawHighPorts(7)) || ports.Equal(scan.DrawHighPorts(8)) {
		t.Errorf("drawn: %v", ports)
	}
	for j := range ports.Len() {
		if proto, port := ports.At(j); proto != probe.TCP || port < 49152 {
			t.Errorf("%v/%d", proto, port)
		}
	}
}

// With a limit for each host none is asked more often, in any pass, controls included, whatever else there is to ask; and the scan as a whole
// is as much faster as there are hosts.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: time.Millisecond, timeout: time.Second, tells: true, answer: func(p probe.Probe) probe.State {
			if p.Port()%2 == 0 && p.Attempt == 1 { // its refusals are limited: controls are asked
				return probe.Closed
			}
			return nothing
		}}
		last := map[netip.Addr]time.Time{}
		tooSoon := 0
		watched := &watchful{network: n, see: func(p probe.Probe, at time.Time) {
			if before, ok := last[p.Addr()]; ok && at.Sub(before) < 100*time.Millisecond {
				tooSoon++
			}
			last[p.Addr()] = at
		}}
		plan := newPlan(space(t, 50, "1-60"), 3).Spread(10)
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: watched, Sink: &found{}})
		if err != nil || s.Answered != 50*30 {
			t.Fatalf("%+v, %v", s, err)
		}
		if tooSoon > 0 || n.controls == 0 {
			t.Errorf("%d probes came to their host within 100 ms of the one before; %d were controls", tooSoon, n.controls)
		}
		if most := 25 * time.Second; s.Elapsed > most {
			t.Errorf("it took %v, which is more than %v", s.Elapsed, most)
		}
	})
}

// A watchful network sees every probe when it is handed out.
type watchful struct {
	*network
	see func(p probe.Probe, at time.Time)
}

func (w *watchful) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	return w.network.Probe(ctx, watchfulDue{due, w.see}, report)
}

type watchfulDue struct {
	probe.Due
	see func(p probe.Probe, at time.Time)
}

func (d watchfulDue) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	n, ok := d.Due.Next(ctx, buf)
	for _, p := range buf[:n] {
		d.see(p, time.Now())
	}
	return n, ok
}
