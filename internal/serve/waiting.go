package serve

import (
	"math"
	"time"
)

// never is a time-out that is none.
const never time.Duration = math.MaxInt64

// waiting are connections that wait for the same thing with the same time-out, ordered by when each last made progress: who is
// due is at the head, and a connection needs no timer. Times are since the loop began.
type waiting struct {
	first, last *loopConn
	timeout     time.Duration
	from        time.Duration // waiting before this does not count
}

// push puts c, which is in no list, at the end.
func (w *waiting) push(c *loopConn) {
	c.list, c.prev, c.next = w, w.last, nil
	if w.last == nil {
		w.first = c
	} else {
		w.last.next = c
	}
	w.last = c
}

// remove takes c out.
func (w *waiting) remove(c *loopConn) {
	if c.prev == nil {
		w.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		w.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.list, c.prev, c.next = nil, nil, nil
}

// due returns when the first is to be ended.
func (w *waiting) due() time.Duration {
	if w.first == nil || w.timeout == never {
		return never
	}
	return max(w.first.since, w.from) + w.timeout
}
