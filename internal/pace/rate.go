// Package pace says when to ask and how long to wait: a Rate for all, and for each host an RTT and a Pacer.
//
// A Rate may be shared by goroutines; an RTT and a Pacer are values of one owner.
package pace

import (
	"context"
	"sync"
	"time"
)

// A Rate hands out permission to send so that in no 100 ms more than a tenth of the
// rate, and one batch, is sent. A batch is what falls due in 10 ms, at least one probe; who asks for many is
// given as many, and not woken for each: a thousand a second cost a tenth of the time so. What was not
// sent when it was due, because nobody asked or the machine slept, is not made up for
// beyond one batch. Any number of goroutines may share a Rate. A nil *Rate is unlimited.
type Rate struct {
	mu        sync.Mutex
	perSecond float64
	next      time.Time // when the next probe falls due
}

// longest is the longest time between two probes: beyond it times could not be added up.
const longest = 100 * 365 * 24 * time.Hour

const batchTime = 10 * time.Millisecond

// NewRate returns a rate of so many per second, more than 0.
func NewRate(perSecond float64) *Rate { return &Rate{perSecond: perSecond} }

// Set changes the rate from now on.
func (r *Rate) Set(perSecond float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.perSecond = perSecond
}

// Take waits until at least one of n may be sent, and returns how many may be now. It
// returns 0 only when ctx ends first.
func (r *Rate) Take(ctx context.Context, n int) int {
	if r == nil {
		return n
	}
	for {
		k, wait := r.take(time.Now(), n)
		if k > 0 {
			return k
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0
		}
	}
}

// Reserve takes permission for one, in advance if none is due, and returns when it may be sent.
func (r *Rate) Reserve(now time.Time) time.Time {
	if r == nil {
		return now
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	interval := r.catchUp(now)
	at := r.next
	r.next = at.Add(interval)
	if at.Before(now) {
		return now
	}
	return at
}

// take returns how many of n are due at now, and if none is, how long until one will be.
func (r *Rate) take(now time.Time, n int) (int, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	interval := r.catchUp(now)
	if interval <= 0 {
		return n, 0
	}
	batch := min(n, max(1, int(batchTime/2/interval))) // half of what is made up for: timers are late
	if ready := r.next.Add(time.Duration(batch-1) * interval); ready.After(now) {
		return 0, ready.Sub(now)
	}
	n = min(n, int(now.Sub(r.next)/interval)+1)
	r.next = r.next.Add(time.Duration(n) * interval)
	return n, 0
}

// catchUp forgets what was not sent when it was due, beyond one batch, and returns the time between two probes.
func (r *Rate) catchUp(now time.Time) (interval time.Duration) {
	interval = time.Duration(min(float64(time.Second)/r.perSecond, float64(longest)))
	if oldest := now.Add(-batchTime); r.next.Before(oldest) {
		r.next = oldest
		if interval > batchTime {
			r.next = now
		}
	}
	return interval
}
