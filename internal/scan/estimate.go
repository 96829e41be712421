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
		for addr, r := range q.hosts {
			if r.answered == 0 {
				continue
			}
			clear(heard)
			path := loss.Path{Heard: heard, Silent: targetsOf(q.plan.Space, addr) - r.answered}
			path.Open = sum(r.open)
			add(heard, r.open)
			if !r.limited {
				add(heard, r.other)
			}
			if !yield(path) {
				return
			}
		}
	}
}

// add counts what was heard on each pass. A run that was resumed may have heard more passes than it counts: the last then
// stands for all behind it.
func add(heard, more []uint64) {
	for i, n := range more {
		heard[min(i, len(heard)-1)] += n
	}
}

func sum(counts []uint64) (n uint64) {
	for _, k := range counts {
		n += k
	}
	return n
}
