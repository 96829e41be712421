package scan

import "sonde/internal/probe"

// A ledger keeps the best answer of each target of a span, in two bits: silent,
// filtered, closed, open, in the order in which one answer gives way to another. What
// a probe of ours could not be sent for is kept apart, in one bit more, allocated when first needed.
type ledger struct {
	best   []uint8 // four targets a byte
	unsent []uint64
	counts [4]uint64 // targets by best answer
}

// The answers a ledger tells apart.
const (
	silent = iota
	filtered
	closed
	open
)

func newLedger(targets uint64) *ledger {
	l := &ledger{best: make([]uint8, (targets+3)/4)}
	l.counts[silent] = targets
	return l
}

func (l *ledger) answer(i uint64) uint8 { return l.best[i/4] >> (2 * (i % 4)) & 3 }

// put notes an answer and reports whether it is news: the target's first, or better than
// what was known. An open target is never downgraded, whatever comes late or twice.
func (l *ledger) put(i uint64, state probe.State) bool {
	answer := uint8(silent)
	switch state {
	case probe.Open:
		answer = open
	case probe.Closed:
		answer = closed
	case probe.Filtered:
		answer = filtered
	}
	known := l.answer(i)
	if answer <= known {
		return false
	}
	l.counts[known]--
	l.counts[answer]++
	l.best[i/4] = l.best[i/4]&^(3<<(2*(i%4))) | answer<<(2*(i%4))
	return true
}

// setUnsent notes whether the last probe of target i stayed here for a reason of ours.
func (l *ledger) setUnsent(i uint64, unsent bool) {
	if l.unsent == nil {
		if !unsent {
			return
		}
		l.unsent = make([]uint64, (len(l.best)*4+63)/64)
	}
	if unsent {
		l.unsent[i/64] |= 1 << (i % 64)
	} else {
		l.unsent[i/64] &^= 1 << (i % 64)
	}
}

func (l *ledger) isUnsent(i uint64) bool {
	return l.unsent != nil && l.unsent[i/64]>>(i%64)&1 == 1
}

// runs returns the targets that nothing is known of because their probe stayed here, or with all every silent one, as runs.
func (l *ledger) runs(all bool) (runs []Span) {
	for i := uint64(0); (all || l.unsent != nil) && i < l.targets(); i++ {
		if !all && !l.isUnsent(i) || l.answer(i) != silent {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].Hi == i {
			runs[n-1].Hi++
		} else {
			runs = append(runs, Span{i, i + 1})
		}
	}
	return runs
}

func (l *ledger) targets() uint64 {
	return l.counts[silent] + l.counts[filtered] + l.counts[closed] + l.counts[open]
}
