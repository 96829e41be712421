package measure

import (
	"context"
	"math"
	"time"
)

// A Search looks for the highest rate that keeps a condition: it doubles the rate until it is not kept, halves the
// space between until it is narrow, and asks the border again. If it was kept by chance, it goes back, by larger and larger steps.
type Search struct {
	Plan      Plan // Rate, Count and Duration are the search's
	Condition Condition
	From      float64       // the first rate; 0 is 100 a second
	Step      time.Duration // how long each rate is tried
	Told      func(Step)    // tells of each; may be nil

	try func(context.Context, Plan) (*Report, error) // Run; tests have their own
}

// A Step is one rate that was tried.
type Step struct {
	Rate    float64
	Kept    bool
	Limited bool // this machine did not send that fast, so it says nothing of the server
	Again   bool // it asks the border again
	Report  *Report
}

// A Finding is what a search found.
type Finding struct {
	Rate    float64 // the highest that kept the condition, twice; 0: none did
	Limited bool    // this machine sends no more: the server may bear more
	Steps   int
}

const (
	narrow     = 1.05 // the border is known when the rates beside it differ by this factor
	fastEnough = 0.95 // of the rate asked for was sent
	fewest     = 10   // probes by which a rate can be told
	mostRate   = 1e8
	mostAgain  = 6 // that the border is asked again
)

// A border is the highest rate that was kept and the lowest that was not.
type border struct {
	kept, broken float64
	limited      bool // broken is a limit of this machine
}

// Run searches until it has found, or ctx ends.
func (s Search) Run(ctx context.Context) (Finding, error) {
	if s.try == nil {
		s.try = Run
	}
	var f Finding
	b, err := s.bracket(ctx, &f)
	for err == nil && b.kept > 0 && b.broken/b.kept > narrow {
		err = s.ask(ctx, &f, &b, math.Sqrt(b.kept*b.broken), false)
	}
	for again, back := 0, narrow; err == nil && b.kept > 0; again, back = again+1, back*back {
		before := b.kept
		if err = s.ask(ctx, &f, &b, b.kept, true); err != nil || b.kept == before {
			break
		}
		if b.kept = before / back; again == mostAgain || b.kept < s.slowest() {
			b.kept = 0
		}
	}
	f.Rate, f.Limited = b.kept, b.limited
	return f, err
}

// slowest is the least rate that is tried: of fewer probes than that nothing can be told.
func (s Search) slowest() float64 { return fewest / s.Step.Seconds() }

// bracket finds a rate that is kept and one that is not.
func (s Search) bracket(ctx context.Context, f *Finding) (b border, err error) {
	rate := min(s.From, mostRate)
	if rate == 0 {
		rate = 100
	}
	for ; b.broken == 0 && rate <= mostRate; rate *= 2 {
		if err := s.ask(ctx, f, &b, rate, false); err != nil {
			return b, err
		}
	}
	if b.broken == 0 { // no machine sends so much
		b.broken, b.limited = b.kept, true
	}
	for rate = b.broken / 2; b.kept == 0 && rate >= s.slowest(); rate /= 2 {
		if err := s.ask(ctx, f, &b, rate, false); err != nil {
			return b, err
		}
	}
	return b, nil
}

// ask tries a rate and moves the border.
func (s Search) ask(ctx context.Context, f *Finding, b *border, rate float64, again bool) error {
	p := s.Plan
	p.Rate, p.Count, p.Duration, p.Abrupt = rate, 0, s.Step, true
	p.Seed += uint64(f.Steps)
	report, err := s.try(ctx, p)
	if err != nil {
		return err
	}
	if report.Interrupted {
		return context.Cause(ctx)
	}
	f.Steps++
	step := Step{Rate: rate, Kept: s.Condition.Kept(report), Again: again, Report: report}
	if report.Probes >= fewest && report.Achieved < fastEnough*rate && report.Held == 0 {
		step.Kept, step.Limited = false, true
	}
	if step.Kept {
		b.kept = rate
	} else {
		b.broken, b.limited = rate, step.Limited
		if again {
			b.kept = 0
		}
	}
	if s.Told != nil {
		s.Told(step)
	}
	return nil
}
