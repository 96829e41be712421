package scan_test

import (
	"context"
	"errors"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

func at(addr string, proto probe.Proto, port uint16) probe.Target {
	return probe.Target{AddrPort: netip.AddrPortFrom(netip.MustParseAddr(addr), port), Proto: proto}
}

var errKilled = errors.New("killed")

// book is a journal in memory: what was written to it before the kill.
type book struct {
	answers []probe.Result
	mark    scan.Mark
	left    int // writes before the kill; below 0: none
	kill    context.CancelCauseFunc
}

func (b *book) Put(answers []probe.Result) error {
	for _, r := range answers {
		if b.left == 0 {
			b.kill(errKilled)
			return errKilled
		}
		b.left--
		b.answers = append(b.answers, r)
	}
	return nil
}

func (b *book) Mark(m scan.Mark) error {
	if b.left != 0 {
		b.mark = m
	}
	return nil
}

func (b *book) past() *scan.Past {
	if b.mark.Pass == 0 && len(b.answers) == 0 {
		return nil
	}
	return &scan.Past{Mark: b.mark, Answers: slices.Values(slices.Clone(b.answers))}
}

// A scan that is killed again and again, whenever it may be, comes to what one that was left alone comes to; no answer is given twice.
func TestKilledAndResumed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "answers")
		hash := maphash.MakeSeed()
		answer := func(p probe.Probe) probe.State {
			x := maphash.Comparable(hash, p.Port()) ^ seed
			if uint64(p.Attempt) < x>>8%4 { // its first attempts are lost
				return nothing
			}
			return []probe.State{probe.Open, probe.Closed, probe.Filtered, nothing, nothing}[x%5]
		}
		plan := newPlan(space(t, 3, "1-400"), 4)
		reference := run(t, plan, answer, &book{left: -1}, nil)
		b := &book{mark: scan.Mark{Pass: 1}}
		for range rapid.IntRange(0, 5).Draw(rt, "kills") {
			b.left = rapid.IntRange(0, 400).Draw(rt, "writes")
			run(t, plan, answer, b, b.past())
		}
		b.left = -1
		got := run(t, plan, answer, b, b.past())
		if !got.complete || got.counts != reference.counts || got.silent != reference.silent {
			rt.Fatalf("came to %+v, uninterrupted %+v", got, reference)
		}
		best := map[probe.Target]probe.State{}
		for _, r := range b.answers {
			if r.State <= best[r.Target] {
				rt.Fatalf("%v was told twice", r.Target)
			}
			best[r.Target] = r.State
		}
	})
}

type outcome struct {
	counts   [4]uint64
	silent   string
	complete bool
}

func run(t *testing.T, plan scan.Plan, answer func(probe.Probe) probe.State, b *book, past *scan.Past) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		b.kill = cancel
		n := &network{delay: 300 * time.Millisecond, timeout: time.Second, tells: true, answer: answer}
		s, err := scan.Run(ctx, scan.Job{Plan: plan, Span: plan.Whole(), Prober: n, Sink: b, Past: past, Mark: b.Mark})
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		o = outcome{counts: [4]uint64{s.Open, s.Closed, s.Filtered, s.Undecided}, complete: s.Complete}
		for h := range s.EachHost() {
			o.silent += h.Addr.String() + ":" + h.Silent.String() + "\n"
		}
	})
	return o
}

// What was accounted for is not asked again: a mark leaves only what was in flight.
func TestMarksSpareWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := newPlan(space(t, 1, "1-5000"), 1)
		silence := func(probe.Probe) probe.State { return nothing }
		var last scan.Mark
		ctx, cancel := context.WithCancelCause(t.Context())
		first := &network{timeout: time.Second, tells: true, answer: silence}
		slow := limited{first, 100}
		_, err := scan.Run(ctx, scan.Job{Plan: plan, Span: plan.Whole(), Prober: slow, Sink: &found{}, Mark: func(m scan.Mark) error {
			if last = m; m.Done > 2000 {
				cancel(errKilled)
			}
			return nil
		}})
		if !errors.Is(err, errKilled) || last.Pass != 1 || last.Done < 2000 || last.Probes < last.Done {
			t.Fatalf("mark %+v, %v", last, err)
		}
		second := &network{timeout: time.Second, tells: true, answer: silence}
		s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: second, Sink: &found{}, Past: &scan.Past{Mark: last}})
		if err != nil || !s.Complete || s.Unanswered != 5000 {
			t.Fatalf("%+v, %v", s, err)
		}
		if n := len(second.order); n != 5000-int(last.Done) {
			t.Errorf("%d were asked again, %d were done", n, last.Done)
		}
	})
}

// limited is a network that has so many probes in flight at the most.
type limited struct {
	*network
	most int
}

func (l limited) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	room := make(chan struct{}, l.most)
	return l.network.Probe(ctx, holding{due, room}, func(r probe.Result) {
		report(r)
		<-room
	})
}

type holding struct {
	probe.Due
	room chan struct{}
}

func (h holding) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	select {
	case h.room <- struct{}{}:
	case <-ctx.Done():
		return 0, false
	}
	return h.Due.Next(ctx, buf[:1])
}

// A span that is over is told again as it was: what was limited, without a neighbour or never sent too.
func TestOverIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		n := &network{timeout: time.Second, tells: true, answer: func(p probe.Probe) probe.State {
			if last := p.Addr().As4()[3]; last != 1 || asked.Add(1) > 6 {
				return nothing
			}
			return probe.Closed
		}}
		plan := newPlan(space(t, 3, "1-50"), 2)
		b := &book{left: -1}
		job := scan.Job{Plan: plan, Span: plan.Whole(), Prober: oddities{n}, Sink: b, Mark: b.Mark}
		told := func(past *scan.Past) (all []scan.Host, s scan.Summary) {
			job.Past = past
			s, err := scan.Run(t.Context(), job)
			if err != nil {
				t.Fatal(err)
			}
			return slices.Collect(s.EachHost()), s
		}
		hosts, first := told(nil)
		again, second := told(b.past())
		if hosts[0].Reason != probe.RateLimited || hosts[1].Reason != probe.NoNeighbor || hosts[2].Undecided.Len() != 50 {
			t.Fatalf("the first run tells %+v", hosts)
		}
		for i := range hosts {
			if h, a := hosts[i], again[i]; h.Reason != a.Reason || !h.Silent.Equal(a.Silent) || !h.Undecided.Equal(a.Undecided) {
				t.Errorf("first %+v, then %+v", h, a)
			}
		}
		if first.Undecided != second.Undecided || first.Limited != second.Limited || second.LocalErr == nil || first.LocalErr.Error() != second.LocalErr.Error() {
			t.Errorf("first %+v, then %+v", first, second)
		}
	})
}

// oddities is a network whose second host has no neighbour, and to whose third nothing can be sent.
type oddities struct{ *network }

func (o oddities) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	return o.network.Probe(ctx, due, func(r probe.Result) {
		switch r.Target.Addr().As4()[3] {
		case 2:
			r.Reason = probe.NoNeighbor
		case 3:
			r.State, r.Reason, r.Err = probe.Unsent, probe.LocalError, errNoRoom
		}
		report(r)
	})
}

var errNoRoom = errors.New("no room")
