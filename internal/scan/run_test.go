package scan_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// found collects what a sink is given, and fails on demand.
type found struct {
	answers map[probe.Target]probe.Result
	puts    int
	fail    error
}

func (f *found) Put(answers []probe.Result) error {
	for _, r := range answers {
		if f.answers == nil {
			f.answers = map[probe.Target]probe.Result{}
		}
		f.answers[r.Target] = r
		f.puts++
	}
	return f.fail
}

func (f *found) count() map[probe.State]int {
	n := map[probe.State]int{}
	for _, r := range f.answers {
		n[r.State]++
	}
	return n
}

// A network answers probes after a time, or not: a prober that needs no socket.
type network struct {
	delay   time.Duration
	timeout time.Duration
	tells   bool // it reports silence
	answer  func(probe.Probe) probe.State

	mu       sync.Mutex
	asked    map[probe.Target][]time.Time
	order    []probe.Target
	controls int
	last     time.Time // when something was asked last
}

const nothing = probe.State(99)

// A forgetful network reports no silence, and loses answers.
type forgetful struct {
	*network
	lose func(probe.Result) bool // nil: none
	lost atomic.Uint64
}

func (f *forgetful) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	return f.network.Probe(ctx, due, func(r probe.Result) {
		if f.lose != nil && f.lose(r) {
			f.lost.Add(1)
			return
		}
		report(r)
	})
}

// Settled looks at what was asked.
func (f *forgetful) Settled(handedOut uint64, wait time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.order)+f.controls) == handedOut && time.Since(f.last) > wait
}

// Heard looks at what was asked, and knows no delay.
func (f *forgetful) Heard(handedOut uint64) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if uint64(len(f.order)+f.controls) < handedOut {
		return time.Time{}
	}
	return time.Now()
}

// Lost counts what lose took.
func (f *forgetful) Lost() uint64 { return f.lost.Load() }

func (n *network) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	var flying sync.WaitGroup
	defer flying.Wait()
	buf := make([]probe.Probe, 16)
	for {
		k, ok := due.Next(ctx, buf)
		if !ok {
			return ctx.Err()
		}
		for _, p := range buf[:k] {
			n.ask(p)
			flying.Go(func() { n.fly(ctx, p, report) })
		}
	}
}

func (n *network) ask(p probe.Probe) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = time.Now()
	if p.Control {
		n.controls++
		return
	}
	if n.asked == nil {
		n.asked = map[probe.Target][]time.Time{}
	}
	n.asked[p.Target] = append(n.asked[p.Target], time.Now())
	n.order = append(n.order, p.Target)
}

func (n *network) fly(ctx context.Context, p probe.Probe, report func(probe.Result)) {
	r := probe.Result{Target: p.Target, Attempt: p.Attempt, Control: p.Control, State: n.answer(p), Reason: probe.SynAck}
	wait := n.delay
	if r.State == nothing {
		wait = n.timeout
		r.State, r.Reason = probe.Filtered, probe.NoResponse
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return
	}
	if r.Reason == probe.NoResponse && !n.tells {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	report(r)
}

func space(t testing.TB, hosts int, ports string) target.Space {
	t.Helper()
	p, err := target.ParsePorts(ports, probe.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := netip.MustParseAddr("10.0.0.1")
	last := first
	for range hosts - 1 {
		last = last.Next()
	}
	var b target.Builder
	b.Add(first, last, p)
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newPlan(s target.Space, attempts uint8) scan.Plan {
	p := scan.NewPlan(s, 1)
	p.Attempts, p.Timeout = attempts, time.Second
	return p
}

func whole(p scan.Plan) scan.Span { return scan.Span{Hi: p.Space.Len()} }

func TestRunFindsWhatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: 20 * time.Millisecond, timeout: time.Second, tells: true, answer: func(p probe.Probe) probe.State {
			return []probe.State{probe.Open, probe.Closed, probe.Filtered, nothing}[p.Port()%4]
		}}
		plan, sink := newPlan(space(t, 3, "1-100"), 4), &found{}
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: n, Sink: sink})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sink.count(), map[probe.State]int{probe.Open: 75, probe.Closed: 75, probe.Filtered: 75}; !maps.Equal(got, want) {
			t.Errorf("the sink got %v, want %v", got, want)
		}
		if s.Hosts != 3 || s.Targets != 300 || s.Open != 75 || s.Closed != 75 || s.Filtered != 150 || s.Unanswered != 75 || s.Answered != 225 || s.Undecided != 0 || !s.Complete {
			t.Errorf("summary %+v", s)
		}
		// Nothing was heard in pass 2, so there was no pass 3.
		if want := uint64(300 + 75 + n.controls); s.Probes != want {
			t.Errorf("%d probes, want %d", s.Probes, want)
		}
	})
}

// Retries go to the silent only, at least a timeout later, and stop when a pass hears nothing.
func TestRetries(t *testing.T) {
	for _, tells := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{delay: time.Millisecond, timeout: time.Second, tells: tells, answer: func(p probe.Probe) probe.State {
				if int(p.Port()) <= int(p.Attempt)*10 {
					return probe.Closed
				}
				return nothing
			}}
			plan, sink := newPlan(space(t, 1, "1-100"), 4), &found{}
			var prober scan.Prober = n
			if !tells {
				prober = &forgetful{network: n}
			}
			s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: prober, Sink: sink})
			if err != nil || s.Answered != 40 || s.Unanswered != 60 || s.Probes != uint64(100+90+80+70+n.controls) || s.Limited != 0 {
				t.Fatalf("tells %v: %+v, %v", tells, s, err)
			}
			for target, times := range n.asked {
				for i := 1; i < len(times); i++ {
					if times[i].Sub(times[i-1]) < plan.Timeout {
						t.Errorf("%v was asked again after %v", target, times[i].Sub(times[i-1]))
					}
				}
			}
			for target, r := range sink.answers {
				if want := (target.Port() + 9) / 10; uint16(r.Attempt) != want {
					t.Errorf("%v answered attempt %d, want %d", target, r.Attempt, want)
				}
			}
			if slices.Equal(n.order[:90], n.order[100:190]) {
				t.Error("the second pass asks in the order of the first")
			}
		})
	}
}

// What this machine lost is asked again whatever the plan says of attempts, and stays undecided if that does not end.
func TestLostHere(t *testing.T) {
	for _, c := range []struct {
		losses                      int // answers to each target, at the most
		answered, undecided, probes uint64
	}{{0, 100, 0, 100}, {3, 100, 0, 400}, {1000, 0, 100, 900}} {
		synctest.Test(t, func(t *testing.T) {
			losses := map[probe.Target]int{}
			n := &forgetful{network: &network{delay: time.Millisecond, answer: func(probe.Probe) probe.State { return probe.Open }},
				lose: func(r probe.Result) bool {
					losses[r.Target]++
					return losses[r.Target] <= c.losses
				}}
			plan := newPlan(space(t, 1, "1-100"), 1)
			s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: n, Sink: &found{}})
			if err != nil || s.Answered != c.answered || s.Undecided != c.undecided || s.Probes != c.probes || (s.LocalErr != nil) != (c.undecided > 0) || s.Complete == (c.undecided > 0) {
				t.Errorf("%d losses: %+v, %v", c.losses, s, err)
			}
		})
	}
}

// A scan whose every target answered does not wait for anything.
func TestRunEndsWithTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{delay: 30 * time.Millisecond, timeout: time.Second, answer: func(probe.Probe) probe.State { return probe.Closed }}
		plan := newPlan(space(t, 1, "1-1000"), 4)
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: n, Sink: &found{}})
		if err != nil || s.Elapsed < 30*time.Millisecond || s.Elapsed > 32*time.Millisecond { // answers that pour are taken a millisecond at a time
			t.Errorf("it took %v, %v", s.Elapsed, err)
		}
	})
}

// Whatever comes late or twice, open stays open and closed never becomes filtered.
func TestMergeIsMonotone(t *testing.T) {
	rank := map[probe.State]int{probe.Filtered: 1, probe.Closed: 2, probe.Open: 3}
	rapid.Check(t, func(rt *rapid.T) {
		states := rapid.SliceOfN(rapid.SampledFrom([]probe.State{probe.Filtered, probe.Closed, probe.Open}), 1, 6).Draw(rt, "states")
		plan, sink := newPlan(space(t, 1, "80"), 1), &found{}
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: answers(states), Sink: sink})
		if err != nil {
			rt.Fatal(err)
		}
		best := slices.MaxFunc(states, func(a, b probe.State) int { return rank[a] - rank[b] })
		if got := sink.answers[plan.At(0)].State; got != best || s.Open+s.Closed+s.Filtered != 1 {
			rt.Fatalf("%v came to %v, summary %+v", states, got, s)
		}
	})
}

// answers is a prober that gives every target the same answers, one after the other, and one of a stranger.
type answers []probe.State

func (a answers) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	var one [1]probe.Probe
	for {
		if _, ok := due.Next(ctx, one[:]); !ok {
			return ctx.Err()
		}
		for _, state := range a {
			report(probe.Result{Target: one[0].Target, Attempt: one[0].Attempt, State: state, Reason: probe.SynAck})
		}
		stranger := probe.Target{AddrPort: netip.MustParseAddrPort("192.0.2.1:80")}
		report(probe.Result{Target: stranger, State: probe.Open, Reason: probe.SynAck})
	}
}

// What this machine could not send is no verdict: it is asked again, and counted if it never went.
func TestUnsentIsNoVerdict(t *testing.T) {
	errNoRoute := errors.New("no route")
	synctest.Test(t, func(t *testing.T) {
		plan, sink, prober := newPlan(space(t, 1, "1-10"), 4), &found{}, &unsent{err: errNoRoute}
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: prober, Sink: sink})
		if err != nil {
			t.Fatal(err)
		}
		if s.Complete || s.Undecided != 5 || s.Closed != 5 || s.Filtered != 0 || s.Unanswered != 0 || s.LocalErr != errNoRoute {
			t.Errorf("summary %+v", s)
		}
		if s.Probes != 5+prober.controls {
			t.Errorf("%d probes, want only those that went", s.Probes)
		}
		for h := range s.EachHost() {
			if h.Silent.Len() != 0 || h.Undecided.Len() != 5 {
				t.Errorf("host %+v", h)
			}
		}
	})
}

// unsent cannot send to even ports, and on the first attempt to none at all.
type unsent struct {
	err      error
	controls uint64
}

func (u *unsent) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	var one [1]probe.Probe
	for {
		if _, ok := due.Next(ctx, one[:]); !ok {
			return ctx.Err()
		}
		r := probe.Result{Target: one[0].Target, Attempt: one[0].Attempt, Control: one[0].Control, State: probe.Closed, Reason: probe.ConnRefused}
		if r.Control {
			u.controls++
		}
		if one[0].Attempt == 1 || one[0].Port()%2 == 0 {
			r.State, r.Reason, r.Err = probe.Unsent, probe.LocalError, u.err
		}
		report(r)
	}
}

func TestInterrupted(t *testing.T) {
	errStop := errors.New("stop")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := &network{delay: time.Millisecond, timeout: time.Hour, answer: func(p probe.Probe) probe.State {
			if p.Port() <= 10 {
				return probe.Open
			}
			return nothing
		}}
		time.AfterFunc(time.Second/2, func() { cancel(errStop) })
		plan, sink := newPlan(space(t, 1, "1-100"), 4), &found{}
		s, err := scan.Run(ctx, scan.Job{Plan: plan, Span: whole(plan), Prober: n, Sink: sink})
		if !errors.Is(err, errStop) || s.Elapsed != time.Second/2 {
			t.Errorf("it ended with %v after %v", err, s.Elapsed)
		}
		if len(sink.answers) != 10 || s.Open != 10 || s.Undecided != 90 || s.Filtered != 0 || s.Complete {
			t.Errorf("%d answers, summary %+v", len(sink.answers), s)
		}
	})
}

// A sink that fails ends the scan with its error, however much is still to come.
func TestSinkFails(t *testing.T) {
	errFull := errors.New("disk full")
	plan := newPlan(space(t, 10, "-"), 1)
	sink := &found{fail: errFull}
	_, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: answers{probe.Open}, Sink: sink})
	if !errors.Is(err, errFull) || sink.puts > 10_000 {
		t.Errorf("error %v after %d answers", err, sink.puts)
	}
}

func TestRateIsKept(t *testing.T) {
	for _, rate := range []float64{1, 50, 1000, 100_000} {
		synctest.Test(t, func(t *testing.T) {
			n := &network{delay: time.Millisecond, answer: func(probe.Probe) probe.State { return probe.Closed }}
			count := min(int(rate)*3, 20_000)
			p := space(t, 1, "1-3")
			if count > 3 {
				p = space(t, count/100+1, "1-100")
			}
			plan := newPlan(p, 1)
			plan.Rate = pace.NewRate(rate)
			s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: n, Sink: &found{}})
			if err != nil {
				t.Fatal(err)
			}
			got := float64(s.Probes-1) / s.Elapsed.Seconds()
			if got > rate*1.1+1 || got < rate*0.9 {
				t.Errorf("rate %v: %v probes/s", rate, got)
			}
			checkWindows(t, n, rate)
		})
	}
}

// checkWindows asserts that in no 100 ms more is sent than a tenth of the rate, rounded up, and one batch.
func checkWindows(t *testing.T, n *network, rate float64) {
	t.Helper()
	var times []time.Time
	for _, ts := range n.asked {
		times = append(times, ts...)
	}
	slices.SortFunc(times, time.Time.Compare)
	batch := max(1, int(rate/100)) + 1
	allowed := int(rate/10) + 1 + batch
	for i := range times {
		if j := i + allowed; j < len(times) && times[j].Sub(times[i]) < 100*time.Millisecond {
			t.Fatalf("rate %v: %d probes within %v", rate, allowed+1, times[j].Sub(times[i]))
		}
	}
}

func TestMeter(t *testing.T) {
	n := &network{answer: func(p probe.Probe) probe.State {
		if p.Port() == 1 {
			return probe.Open
		}
		return probe.Closed
	}}
	plan, meter := newPlan(space(t, 4, "1-25"), 1), &scan.Meter{}
	total := scan.Summary{Complete: true}
	for span := range plan.Spans(plan.Whole(), 1) {
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: span, Prober: n, Sink: &found{}, Meter: meter})
		if err != nil {
			t.Fatal(err)
		}
		total = total.Add(s)
	}
	if total.Targets != 100 || total.Open != 4 || total.Hosts != 4 || !total.Complete {
		t.Errorf("sum %+v", total)
	}
	if meter.Probes.Load() != 100 || meter.Asked.Load() != 100 || meter.Answered.Load() != 100 || meter.Open.Load() != 4 {
		t.Errorf("meter: %d probes, %d asked, %d answered, %d open", meter.Probes.Load(), meter.Asked.Load(), meter.Answered.Load(), meter.Open.Load())
	}
}
