package pace

import (
	"sync/atomic"
	"time"
)

// A Timetable says when each of a row of probes is to be sent, so many a second, whoever is late with the ones before.
//
// What fell due while nobody asked is handed out at once, up to Grace or one; what is longer past (the machine slept, the
// process was stopped) is moved: the rest of the table begins now, and no burst follows. One goroutine calls Due; any may
// call At.
type Timetable struct {
	interval float64 // between two, in nanoseconds
	given    uint64
	parts    atomic.Pointer[[]part]
	moved    time.Duration
}

// A part of a table: probe first and those after it, from start on.
type part struct {
	first uint64
	start time.Time
}

// Grace is how late a Timetable, of more than ten a second, may be asked without being moved. What falls due in it may be sent at once, so that in
// any 100 ms no more is sent than falls due in 200 ms.
const Grace = 100 * time.Millisecond

// NewTimetable returns one that begins at start.
func NewTimetable(start time.Time, perSecond float64) *Timetable {
	t := &Timetable{interval: min(float64(time.Second)/perSecond, float64(longest))}
	t.parts.Store(&[]part{{start: start}})
	return t
}

// At returns when probe n is to be sent.
func (t *Timetable) At(n uint64) time.Time {
	parts := *t.parts.Load()
	i := len(parts) - 1
	for parts[i].first > n {
		i--
	}
	return t.in(parts[i], n)
}

func (t *Timetable) in(p part, n uint64) time.Time {
	return p.start.Add(time.Duration(float64(n-p.first) * t.interval))
}

// Due returns how many are due at now in all, those it has told of before included, at most those.
func (t *Timetable) Due(now time.Time, most uint64) uint64 {
	parts := *t.parts.Load()
	last := parts[len(parts)-1]
	if late := now.Sub(t.in(last, t.given)); late > max(Grace, time.Duration(t.interval)) && t.given > 0 {
		t.moved += late
		last = part{t.given, now}
		moved := append(append([]part{}, parts...), last)
		t.parts.Store(&moved)
	}
	if now.Before(last.start) {
		return t.given
	}
	n := last.first + uint64(float64(now.Sub(last.start))/t.interval) + 1
	for n > t.given && t.in(last, n-1).After(now) { // both are rounding
		n--
	}
	for n < most && !t.in(last, n).After(now) {
		n++
	}
	t.given = max(t.given, min(n, most))
	return t.given
}

// Moved is how long in all the table stood still because nobody asked.
func (t *Timetable) Moved() time.Duration { return t.moved }
