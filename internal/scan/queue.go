package scan

import (
	"context"
	"sync"
	"time"

	"sonde/internal/probe"
)

// A queue hands out the probes of a span, pass after pass, and takes in what is heard. It
// is the one place where the sending and the receiving side of a scan meet; its mutex guards all below it.
type queue struct {
	plan  *Plan
	span  Span
	meter *Meter

	mu       sync.Mutex
	ledger   *ledger
	pass     uint8         // from 1
	next     uint64        // how many places of this pass were looked at
	flying   int           // probes of this pass that are not accounted for
	heard    bool          // did this pass hear anything
	over     bool          // there will be no more passes
	lastSign time.Time     // when something was last handed out or reported
	changed  chan struct{} // closed, and replaced, when those who wait should look again
	localErr error         // the first thing of ours that kept a probe here
	probes   uint64
}

func newQueue(plan *Plan, span Span, meter *Meter) *queue {
	meter.begin(1, span.Hi-span.Lo)
	return &queue{plan: plan, span: span, meter: meter, pass: 1,
		ledger: newLedger(span.Hi - span.Lo), changed: make(chan struct{})}
}

// Next implements probe.Due.
func (q *queue) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	for ctx.Err() == nil {
		step, wait := q.look(time.Now())
		switch step {
		case stepSend:
			if k := q.plan.Rate.Take(ctx, len(buf)); k > 0 {
				if n := q.fill(buf[:k]); n > 0 {
					return n, true
				}
			}
		case stepWait:
			q.await(ctx, wait)
		case stepDone:
			return 0, false
		}
	}
	return 0, false
}

// What Next can do now.
const (
	stepSend = iota // this pass has targets left
	stepWait        // this pass waits for its answers
	stepDone        // there will be no more
)

// look decides what comes next, and begins the next pass when this one is over.
func (q *queue) look(now time.Time) (step int, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over || q.ledger.counts[silent] == 0 {
		return stepDone, 0
	}
	if q.skipAnswered() {
		return stepSend, 0
	}
	if wait := q.patience(now); q.flying > 0 && wait > 0 {
		return stepWait, wait
	}
	if q.pass >= q.plan.Attempts || q.pass >= 2 && !q.heard {
		q.over = true
		return stepDone, 0
	}
	q.pass, q.next, q.flying, q.heard = q.pass+1, 0, 0, false
	q.meter.begin(q.pass, q.ledger.counts[silent])
	return stepSend, 0
}

// patience returns how long the answers of this pass are still waited for.
func (q *queue) patience(now time.Time) time.Duration {
	if !q.plan.Untold {
		return time.Hour // each probe is accounted for, sooner or later
	}
	return q.lastSign.Add(2 * q.plan.Timeout).Sub(now)
}

// place returns which target of the ledger comes at step k of this pass: even passes go
// backwards, so that no target is asked twice in the same company.
func (q *queue) place(k uint64) uint64 {
	if q.pass%2 == 0 {
		return q.span.Hi - q.span.Lo - 1 - k
	}
	return k
}

// skipAnswered moves to the next target that is still silent, false if this pass has none left.
func (q *queue) skipAnswered() bool {
	for n := q.span.Hi - q.span.Lo; q.next < n; q.next++ {
		if q.pass == 1 || q.ledger.answer(q.place(q.next)) == silent {
			return true
		}
	}
	return false
}

// fill hands out the next silent targets of this pass.
func (q *queue) fill(buf []probe.Probe) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(buf) && q.skipAnswered() {
		i := q.place(q.next)
		q.ledger.setUnsent(i, false)
		buf[n] = probe.Probe{Target: q.plan.At(q.span.Lo + i), Attempt: q.pass}
		q.next++
		n++
	}
	q.flying += n
	q.probes += uint64(n)
	q.lastSign = time.Now()
	q.meter.sent(q.pass, uint64(n))
	return n
}

// await returns when something changed, at the latest after wait.
func (q *queue) await(ctx context.Context, wait time.Duration) {
	q.mu.Lock()
	changed := q.changed
	over := q.flying <= 0 || q.ledger.counts[silent] == 0
	q.mu.Unlock()
	if over {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take notes one report and says whether it is news for the sink.
func (q *queue) take(r probe.Result) bool {
	place, ok := q.plan.Place(r.Target)
	if !ok || place < q.span.Lo || place >= q.span.Hi {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := place - q.span.Lo
	q.lastSign = time.Now()
	if r.Attempt == q.pass {
		q.flying--
	}
	news := false
	switch {
	case r.State == probe.Unsent:
		q.probes--
		q.ledger.setUnsent(i, true)
		if q.localErr == nil {
			q.localErr = r.Err // nil for what an interruption left
		}
	case r.Reason != probe.NoResponse:
		q.heard = true
		first := q.ledger.answer(i) == silent
		news = q.ledger.put(i, r.State)
		q.meter.heard(first, news && r.State == probe.Open)
	}
	if q.flying <= 0 || q.ledger.counts[silent] == 0 {
		close(q.changed)
		q.changed = make(chan struct{})
	}
	return news
}
