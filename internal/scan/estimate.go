package scan

import (
	"iter"

	"sonde/internal/loss"
)

// estimate says how much of the span was probably missed so far: the chance of loss shows in how many answers came
// on which pass. A host that limits its refusals tells of loss by its open ports only.
func (q *queue) estimate() loss.Estimate {
	return loss.Of(int(q.pass), q.paths())
}

func (q *queue) paths() iter.Seq[loss.Path] {
	return func(yield func(loss.Path) bool) {
		heard := make([]uint64, q.pass)
		for addr, r := range q.hosts.all() {
			if r.answered == 0 {
				continue
			}
			clear(heard)
			path := loss.Path{Heard: heard, Silent: targetsOf(q.plan.Space, addr) - r.answered}
			path.Open = r.open.sum()
			r.open.addTo(heard)
			if !r.limited {
				r.other.addTo(heard)
			}
			if !yield(path) {
				return
			}
		}
	}
}
