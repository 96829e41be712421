package loss

import "math"

// The two levels at which a bound on p is drawn: near is a one-sided 95 % bound by the likelihood ratio (half of 1.645
// squared, Wilks 1938); far has a twentieth of the best likelihood.
const (
	near = iota
	far
)

var drops = [2]float64{1.3529, 2.9957}

// A geometric is answers that waited for some of so many passes.
type geometric struct {
	passes  int
	answers float64
	wait    float64 // passes waited for, over all answers: one on pass i waited for i-1
}

// scaled returns the evidence of as many answers that waited as these did.
func (g geometric) scaled(answers float64) geometric {
	if g.answers == 0 {
		return g
	}
	return geometric{g.passes, answers, g.wait * answers / g.answers}
}

// logLikelihood of p: p^wait / (1 + p + … + p^(k-1))^answers.
func (g geometric) logLikelihood(p float64) float64 {
	terms := 0.0
	for range g.passes {
		terms = terms*p + 1
	}
	l := -g.answers * math.Log(terms)
	if g.wait > 0 {
		l += g.wait * math.Log(p)
	}
	return l
}

// excess is how much longer the answers waited than under p, in all.
func (g geometric) excess(p float64) float64 {
	sum, terms, power := 0.0, 0.0, 1.0
	for i := range g.passes {
		sum += float64(i) * power
		terms += power
		power *= p
	}
	return g.wait - g.answers*sum/terms
}

// Evidence is all that tells of one p.
type evidence []geometric

func (e evidence) sum(f func(geometric, float64) float64, p float64) (s float64) {
	for _, g := range e {
		s += f(g, p)
	}
	return s
}

// A fit is what evidence tells of p: its most likely value, and the largest that is still likely at each level.
type fit struct {
	best  float64
	upper [2]float64
}

// fit finds the maximum of the likelihood, which has only one.
func (e evidence) fit() fit {
	f := fit{best: bisect(0, func(p float64) bool { return e.sum(geometric.excess, p) > 0 })}
	top := e.sum(geometric.logLikelihood, f.best)
	for i, drop := range drops {
		f.upper[i] = bisect(f.best, func(p float64) bool { return e.sum(geometric.logLikelihood, p) > top-drop })
	}
	return f
}

// missed is what so many passes have missed that heard so many.
func (f fit) missed(heard float64, passes int) miss {
	at := func(p float64) float64 {
		q := math.Pow(p, float64(passes))
		if heard == 0 || q == 0 {
			return 0
		}
		return heard * q / (1 - q) // +Inf for p = 1
	}
	return miss{at(f.best), [2]float64{at(f.upper[near]), at(f.upper[far])}}
}

// bisect returns up to where below is true: lo at the least, 1 at the most.
func bisect(lo float64, below func(float64) bool) float64 {
	hi := 1.0
	if below(hi) {
		return hi
	}
	for range 40 {
		if mid := (lo + hi) / 2; below(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
