package measure

import (
	"context"
	"errors"
	"math"
	"time"
)

// A Search looks for the highest rate that keeps a condition: it doubles the rate until it is not kept, halves the
// space between until it is narrow, and asks the border again. A rate that is not kept is asked twice before it counts.
type Search struct {
	Plan      Plan // Rate, Count and Duration are the search's
	Condition Condition
	From      float64       // the first rate; 0 is 100 a second
	Step      time.Duration // how long each rate is tried; slow ones longer, see tried
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

// A Finding is what a search found, or had found when it ended before it was over.
type Finding struct {
	Rate    float64 // the highest that kept the condition, at the end twice; 0: none did
	NotKept float64 // the lowest that did not; 0: none was found
	Limited bool    // NotKept is a limit of this machine, which sends no more: the server may bear more
	Steps   int
	Lowest  float64 // of the rates that were tried
	Best    *Step   // the one that came nearest to keeping it; nil: none was tried
}

const (
	narrow     = 1.05 // the border is known when the rates beside it differ by this factor
	fastEnough = 0.95 // of the rate asked for was sent
	fewest     = 10   // probes by which a rate can be told
	longer     = 5    // times Step: the longest that a rate is tried
	mostRate   = 1e8
	mostAgain  = 6 // that the border is asked again
)

// A border is the highest rate that was kept and the lowest that was not.
type border struct {
	kept, broken float64
	limited      bool // broken is a limit of this machine
}

func (b *border) move(s Step) {
	if s.Kept {
		b.kept = s.Rate
	} else {
		b.broken, b.limited = s.Rate, s.Limited
	}
}

// Run searches until it has found, or ctx ends. With an error the finding is what was known until then.
func (s Search) Run(ctx context.Context) (Finding, error) {
	if s.try == nil {
		s.try = Run
	}
	var f Finding
	var b border
	err := s.bracket(ctx, &f, &b)
	for err == nil && b.kept > 0 && b.broken/b.kept > narrow {
		err = s.askTwice(ctx, &f, &b, math.Sqrt(b.kept*b.broken))
	}
	if err == nil {
		err = s.confirm(ctx, &f, &b)
	}
	f.Rate, f.Limited = b.kept, b.limited
	if b.broken != b.kept {
		f.NotKept = b.broken
	}
	return f, err
}

// confirm asks the border again. If it was kept by chance, it goes back, by larger and larger steps.
func (s Search) confirm(ctx context.Context, f *Finding, b *border) error {
	for again, back := 0, narrow; b.kept > 0; again, back = again+1, back*back {
		step, err := s.twice(ctx, f, b.kept, true)
		if err != nil || step.Kept {
			return err
		}
		b.move(step)
		if b.kept /= back; again == mostAgain || b.kept < s.slowest() {
			b.kept = 0
		}
	}
	return nil
}

// slowest is the least rate that is tried: of fewer probes than that nothing can be told.
func (s Search) slowest() float64 { return max(1, fewest/(longer*s.Step.Seconds())) }

// tried is how long a rate is tried: Step, or longer if that would be too few probes for the condition, up to a bound.
func (s Search) tried(rate float64) time.Duration {
	seconds := min(s.Condition.enough()/rate, longer*s.Step.Seconds())
	return max(s.Step, time.Duration(seconds*float64(time.Second)))
}

// bracket finds a rate that is kept and one that is not: up from the first, or down from it.
func (s Search) bracket(ctx context.Context, f *Finding, b *border) error {
	rate := min(s.From, mostRate)
	if rate == 0 {
		rate = 100
	}
	rate = max(rate, s.slowest())
	for ; b.broken == 0 && rate <= mostRate; rate *= 2 {
		if err := s.askTwice(ctx, f, b, rate); err != nil {
			return err
		}
	}
	if b.broken == 0 { // no machine sends so much
		b.broken, b.limited = b.kept, true
	}
	for b.kept == 0 && b.broken > s.slowest() {
		step, err := s.ask(ctx, f, max(b.broken/2, s.slowest()), false)
		if err != nil {
			return err
		}
		b.move(step)
	}
	return nil
}

// askTwice tries a rate and moves the border.
func (s Search) askTwice(ctx context.Context, f *Finding, b *border, rate float64) error {
	step, err := s.twice(ctx, f, rate, false)
	if err == nil {
		b.move(step)
	}
	return err
}

// twice tries a rate, and if it was not kept once more: one bad moment is no limit.
func (s Search) twice(ctx context.Context, f *Finding, rate float64, again bool) (Step, error) {
	step, err := s.ask(ctx, f, rate, again)
	if err == nil && !step.Kept {
		step, err = s.ask(ctx, f, rate, true)
	}
	return step, err
}

// ask tries a rate.
func (s Search) ask(ctx context.Context, f *Finding, rate float64, again bool) (Step, error) {
	p := s.Plan
	p.Rate, p.Count, p.Duration, p.Abrupt = rate, 0, s.tried(rate), true
	p.Seed += uint64(f.Steps)
	report, err := s.try(ctx, p)
	if err != nil && !s.gaveWay(f, err) {
		return Step{}, err
	}
	if report.Interrupted {
		return Step{}, context.Cause(ctx)
	}
	step := Step{Rate: rate, Kept: s.Condition.Kept(report), Again: again, Report: report}
	if report.Behind() {
		step.Kept, step.Limited = false, true
	}
	f.note(step, s.Condition)
	if s.Told != nil {
		s.Told(step)
	}
	return step, nil
}

// gaveWay reports whether an error says no more than that the server does not bear this rate: it hung up, where a rate was kept before.
func (s Search) gaveWay(f *Finding, err error) bool {
	var hangup *HangupError
	return errors.As(err, &hangup) && f.Best != nil && s.Condition.Kept(f.Best.Report)
}

// note counts a step and keeps it if it is the best so far.
func (f *Finding) note(step Step, c Condition) {
	f.Steps++
	if f.Lowest == 0 || step.Rate < f.Lowest {
		f.Lowest = step.Rate
	}
	if f.Best == nil || c.better(step.Report, f.Best.Report) {
		f.Best = &step
	}
}

// better reports whether a comes nearer to keeping the condition than b.
func (c Condition) better(a, b *Report) bool {
	t, share := c.Value(a)
	u, other := c.Value(b)
	return t < u || t == u && share < other
}
