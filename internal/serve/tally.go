package serve

import "time"

// A Tally turns many like events into one notice per NoticeInterval: the first is told at
// once, the others are counted until the interval is over. The zero value is ready.
type Tally struct {
	count int
	next  time.Time // when the next notice may be
}

// Add counts n events at time now and returns the count to tell now, or 0.
func (t *Tally) Add(now time.Time, n int) int {
	t.count += n
	return t.Due(now)
}

// Due returns the count to tell at time now, or 0.
func (t *Tally) Due(now time.Time) int {
	if t.count == 0 || now.Before(t.next) {
		return 0
	}
	t.next = now.Add(NoticeInterval)
	return t.Rest()
}

// Wake returns when Due will have something to tell, and the zero time if nothing waits.
func (t *Tally) Wake() time.Time {
	if t.count == 0 {
		return time.Time{}
	}
	return t.next
}

// Rest returns what was not told yet, whatever the time.
func (t *Tally) Rest() int {
	n := t.count
	t.count = 0
	return n
}
