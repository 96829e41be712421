package report

import (
	"fmt"
	"net/netip"
	"slices"
)

// A hostList sums up hosts that gave no answer at all. They come in any order; where they
// make more ranges than anybody would read, only their number is kept.
type hostList struct {
	n      uint64
	ranges []addrRange
	many   bool // too many ranges to keep
}

type addrRange struct{ first, last netip.Addr }

const mostRanges = 1 << 16

func (l *hostList) add(a netip.Addr) {
	l.n++
	if l.many {
		return
	}
	if n := len(l.ranges); n > 0 && l.ranges[n-1].last.Next() == a {
		l.ranges[n-1].last = a
		return
	}
	if l.ranges = append(l.ranges, addrRange{a, a}); len(l.ranges) > mostRanges {
		if l.join(); len(l.ranges) > mostRanges/2 {
			l.ranges, l.many = nil, true
		}
	}
}

// join sorts the ranges and makes one of those that touch.
func (l *hostList) join() {
	slices.SortFunc(l.ranges, func(a, b addrRange) int { return a.first.Compare(b.first) })
	joined := l.ranges[:0]
	for _, r := range l.ranges {
		if n := len(joined); n > 0 && joined[n-1].last.Next() == r.first {
			joined[n-1].last = r.last
		} else {
			joined = append(joined, r)
		}
	}
	l.ranges = joined
}

// String returns the ranges, or the first of them.
func (l *hostList) String() string {
	l.join()
	var s string
	for i, r := range l.ranges {
		if i == foldOver {
			return s + fmt.Sprintf(" and %s more", Plural(uint64(len(l.ranges)-i), "range"))
		}
		if i > 0 {
			s += ", "
		}
		s += r.first.String()
		if r.first != r.last {
			s += "-" + r.last.String()
		}
	}
	return s
}
