// Package loss tells how much a scan may have missed, from what it heard on which pass.
//
// A target that answers is first heard on pass i of k with a chance proportional to
// p^(i-1), where p is the chance that a probe or its answer is lost: a geometric law, cut off at k. What was heard,
// closed ports and ICMP errors included, tells p; p tells what was not heard. docs/completeness.md has the
// method, what it assumes, where it comes from and how it was tested.
package loss

import (
	"iter"
	"math"
)

// A Path is one host that answered at all. Hosts that never did are no paths: nothing can be told of them.
type Path struct {
	Heard  []uint64 // targets first heard on pass 1, 2, …, whatever they answered; valid only while it is yielded
	Open   uint64   // of the targets heard, the open ones
	Silent uint64   // targets that nothing was heard of
}

// An Estimate says how much of what would have answered was probably never heard. Estimates
// of spans that ran one after the other are added up with Add; the zero value is that of nothing scanned.
type Estimate struct {
	Known    bool    // enough was heard to judge; else Missed and Missed95 mean nothing
	Loss     float64 // the chance that a probe or its answer is lost, for an average answer
	Missed   float64 // open ports expected to have been missed
	Missed95 float64 // and how many, at the most, in 95 of 100 scans
	Answers  uint64  // targets heard: what all this was told from

	paths sum  // hosts judged one by one
	rest  pool // the others
	all   sum  // both
}

// enough is how many answers a host needs to be judged by itself.
const enough = 30

// Of judges a span of a scan that made so many passes over what was silent. One pass alone tells
// nothing, unless it heard everything.
func Of(passes int, paths iter.Seq[Path]) Estimate {
	e := Estimate{rest: newPool(passes)}
	for p := range paths {
		if c := count(p, passes); c.answers < enough {
			e.rest.add(c)
		} else {
			e.paths.add(c, c.judge())
		}
	}
	return e.conclude()
}

// Add returns the estimate of two spans, or plans, that ran one after the other.
func (e Estimate) Add(o Estimate) Estimate {
	return Estimate{paths: e.paths.plus(o.paths), rest: e.rest.plus(o.rest)}.conclude()
}

// conclude fills in what is told to people. Where most of what was silent could be judged the estimate is known: what
// could not counts for the bound as if all of it had been missed.
func (e Estimate) conclude() Estimate {
	e.all = e.paths
	if e.rest.all.answers == 0 {
		e.rest = pool{}
	} else {
		e.all.add(e.rest.all, e.rest.judge())
	}
	if e.all.answers == 0 {
		return Estimate{}
	}
	silent := float64(e.all.silent)
	e.Answers = uint64(e.all.answers)
	e.Loss = e.all.lost / e.all.answers
	e.Missed = e.all.open.expected
	e.Missed95 = min(max(e.all.open.bound(far), quantile95(e.all.open.bound(near))), silent)
	e.Known = 2*e.all.blind <= e.all.silent
	return e
}

// Recall returns which share of what answers was heard, at the least, in 95 of 100 scans: of the open ports or of all
// answers, whichever is less. For a single path it is 1 - p^k with the largest p that fits, so it says something
// even where nothing open was found. It is 0 where nothing is Known; more passes raise it
// as long as Answers is not 0. If that is 0 no number of passes will help.
func (e Estimate) Recall() float64 {
	if !e.Known {
		return 0
	}
	share := func(found float64, t tally) float64 {
		if found == 0 {
			return 1
		}
		return found / (found + t.bound(far))
	}
	return min(share(e.all.found, e.all.open), share(e.all.answers, e.all.any))
}

// A sum is what several paths heard and have probably missed.
type sum struct {
	answers, found float64 // targets heard, and the open ones among them
	lost           float64 // p of each path, times its answers
	silent, blind  uint64  // targets not heard, and those of paths that bear no judgement
	open, any      tally   // missed of the open ports, and of all that answers
}

// boundless is how many times what was heard may be missing before that says nothing.
const boundless = 1000

func (s *sum) add(c census, v verdict) {
	s.answers, s.found, s.lost = s.answers+c.answers, s.found+float64(c.open), s.lost+v.fit.best*c.answers
	s.silent += c.silent
	if v.any.upper[far] > boundless*c.answers {
		s.blind += c.silent
	}
	s.open.add(v.open, float64(c.silent))
	s.any.add(v.any, float64(c.silent))
}

func (s sum) plus(o sum) sum {
	return sum{s.answers + o.answers, s.found + o.found, s.lost + o.lost, s.silent + o.silent, s.blind + o.blind, s.open.plus(o.open), s.any.plus(o.any)}
}

// A tally is what was missed of one kind of answer, over paths that are independent: expectations add up, and
// so do the squares of how far each may be off.
type tally struct {
	expected float64
	squares  [2]float64 // by near and far
}

// add adds one path, of which no more than most can have been missed.
func (t *tally) add(m miss, most float64) {
	expected := min(m.expected, most)
	t.expected += expected
	for i, upper := range m.upper {
		margin := max(min(upper, most)-expected, 0)
		t.squares[i] += margin * margin
	}
}

func (t tally) plus(u tally) tally {
	return tally{t.expected + u.expected, [2]float64{t.squares[near] + u.squares[near], t.squares[far] + u.squares[far]}}
}

// bound is how many may be expected to be missed, at the most.
func (t tally) bound(level int) float64 { return t.expected + math.Sqrt(t.squares[level]) }

// quantile95 returns the smallest number that a Poisson variable of that mean does not exceed in 95 of 100 cases.
func quantile95(mean float64) float64 {
	if mean > 500 { // the normal law with Cornish and Fisher's first correction is exact to less than 1 there
		return math.Ceil(mean + 1.645*math.Sqrt(mean) + 0.3)
	}
	term, n := math.Exp(-mean), 0.0
	for sum := term; sum < 0.95; sum += term {
		n++
		term *= mean / n
	}
	return n
}
