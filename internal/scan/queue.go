package scan

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"sonde/internal/probe"
)

// A queue hands out the probes of a span, pass after pass, and takes in what is heard. It
// is the one place where the sending and the receiving side of a scan meet; its mutex guards all below it.
type queue struct {
	plan  *Plan
	span  Span
	whole bool // the span holds whole hosts only
	meter *Meter

	mu       sync.Mutex
	ledger   *ledger
	hosts    records
	pass     uint8         // from 1
	next     uint64        // how many places of this pass were looked at
	controls []probe.Probe // due now
	flying   int           // probes of this pass that are not accounted for
	out      []uint16      // of those, how many of each run of runLength places; controls left out
	heard    bool          // did this pass hear anything new
	over     bool          // there will be no more passes
	lastSign time.Time     // when something was last handed out or reported
	changed  chan struct{} // closed, and replaced, when those who wait should look again
	localErr error         // the first thing of ours that kept a probe here
	probes   uint64
	begun    time.Time
	before   time.Duration // spent by earlier runs
}

// runLength is how many places are accounted for together.
const runLength = 256

func newQueue(plan *Plan, span Span, meter *Meter, past *Past) *queue {
	n := span.Hi - span.Lo
	q := &queue{plan: plan, span: span, whole: plan.isWhole(span), meter: meter, ledger: newLedger(n), hosts: records{},
		out: make([]uint16, (n+runLength-1)/runLength), changed: make(chan struct{}), begun: time.Now()}
	if past == nil {
		past = &Past{Mark: Mark{Pass: 1}}
	}
	q.replay(past)
	meter.begin(max(1, q.pass), n)
	return q
}

// replay brings the queue to where an earlier run left it.
func (q *queue) replay(past *Past) {
	answers := uint64(0)
	if past.Answers != nil {
		for r := range past.Answers {
			q.note(&r)
			answers++
		}
	}
	q.pass, q.next, q.heard, q.over = max(1, past.Pass, past.Attempts), past.Done, past.Heard, past.Pass == 0
	q.probes, q.before = max(past.Probes, answers), past.Elapsed // the last mark may be older than the last answer
	for _, addr := range past.Limited {
		q.hosts.of(addr).limited = true
	}
	for _, addr := range past.GaveUp {
		q.hosts.of(addr).gaveUp = true
	}
	for _, addr := range past.Nobody {
		q.hosts.of(addr).nobody = true
	}
	for _, run := range past.Unsent {
		for i := run.Lo; i < run.Hi; i++ {
			q.ledger.setUnsent(i, true)
		}
	}
	if past.LocalErr != "" {
		q.localErr = errors.New(past.LocalErr)
	}
	q.meter.sent(0, q.probes)
	asked := q.next
	if q.pass > 1 || q.over {
		asked = q.span.Hi - q.span.Lo
	}
	q.meter.Asked.Add(asked)
}

// mark says how far the queue is.
func (q *queue) mark() Mark {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := Mark{Pass: q.pass, Done: q.next, Heard: q.heard, Probes: q.probes, Elapsed: q.elapsed()}
	for run, n := range q.out {
		if start := uint64(run) * runLength; n > 0 || start >= q.next {
			m.Done = min(start, q.next)
			break
		}
	}
	for addr, r := range q.hosts {
		if r.limited {
			m.Limited = append(m.Limited, addr)
		}
		if r.gaveUp {
			m.GaveUp = append(m.GaveUp, addr)
		}
		if q.over && r.nobody {
			m.Nobody = append(m.Nobody, addr)
		}
	}
	if q.over {
		m.Pass, m.Done, m.Attempts, m.Unsent = 0, 0, q.pass, q.ledger.unsentRuns()
		if q.localErr != nil {
			m.LocalErr = q.localErr.Error()
		}
	}
	return m
}

// findNobody notes which of the hosts that were silent throughout have no neighbour.
func (q *queue) findNobody(nobody func(netip.Addr) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ledger.counts[silent] == 0 {
		return
	}
	for addr := range q.plan.hosts(q.span) {
		if r := q.hosts[addr]; (r == nil || r.answered == 0) && nobody(addr) {
			q.hosts.of(addr).nobody = true
		}
	}
}

// end ends the span: nothing more is asked.
func (q *queue) end() {
	q.over = true
	for _, r := range q.hosts {
		r.judge()
	}
}

func (q *queue) elapsed() time.Duration { return q.before + time.Since(q.begun) }

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
		q.end()
		return stepDone, 0
	}
	if len(q.controls) > 0 || q.skipAnswered() {
		return stepSend, 0
	}
	if wait := q.patience(now); q.flying > 0 && wait > 0 {
		return stepWait, wait
	}
	if !q.another() {
		q.end()
		return stepDone, 0
	}
	q.pass, q.next, q.flying, q.heard = q.pass+1, 0, 0, false
	clear(q.out)
	q.meter.begin(q.pass, q.ledger.counts[silent])
	return stepSend, 0
}

// another reports whether those that are still silent are worth another pass.
func (q *queue) another() bool {
	switch {
	case q.pass >= q.plan.Attempts:
		return false
	case q.pass < 2:
		return true
	case q.plan.Recall > 0:
		e := q.estimate()
		return e.Answers > 0 && e.Recall() < q.plan.Recall
	}
	return q.heard || q.owed()
}

// owed reports whether any host's silence was no answer in this pass.
func (q *queue) owed() bool {
	for _, r := range q.hosts {
		if r.owes(q.pass) {
			return true
		}
	}
	return false
}

// patience returns how long the answers of this pass are still waited for.
func (q *queue) patience(now time.Time) time.Duration {
	if !q.plan.Untold {
		return time.Hour // each probe is accounted for, sooner or later
	}
	return q.lastSign.Add(2 * q.plan.Timeout).Sub(now)
}

// place returns which target of the ledger comes at step k of this pass: even passes go
// backwards, so that no target is asked twice in the same company. It is its own inverse.
func (q *queue) place(k uint64) uint64 {
	if q.pass%2 == 0 {
		return q.span.Hi - q.span.Lo - 1 - k
	}
	return k
}

// skipAnswered moves to the next target that is still silent, false if this pass has none left.
func (q *queue) skipAnswered() bool {
	for n := q.span.Hi - q.span.Lo; q.next < n; q.next++ {
		if q.ledger.answer(q.place(q.next)) == silent {
			return true
		}
	}
	return false
}

// fill hands out the next silent targets of this pass, and the controls among them.
func (q *queue) fill(buf []probe.Probe) (n int) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(buf) {
		if len(q.controls) > 0 {
			buf[n] = q.controls[0]
			q.controls = q.controls[1:]
			n++
			continue
		}
		if !q.skipAnswered() {
			break
		}
		k := q.next
		q.next++
		t := q.plan.At(q.span.Lo + q.place(k))
		until, ok := q.admit(t, now)
		if !ok {
			continue
		}
		q.ledger.setUnsent(q.place(k), false)
		buf[n] = probe.Probe{Target: t, Attempt: q.pass, Until: until}
		q.out[k/runLength]++
		n++
	}
	q.flying += n
	q.probes += uint64(n)
	q.lastSign = now
	q.meter.sent(q.pass, uint64(n))
	return n
}

// admit says whether a silent target of a host is asked now, and until when it may be, and whether a control is due with it.
func (q *queue) admit(t probe.Target, now time.Time) (until time.Time, ok bool) {
	addr := t.Addr()
	if q.plan.HostTimeout == 0 && q.pass == 1 {
		return until, true
	}
	r := q.hosts[addr]
	if q.plan.HostTimeout > 0 {
		r = q.hosts.of(addr)
		if r.begun.IsZero() {
			r.begun = now
		}
		if until = r.begun.Add(q.plan.HostTimeout); now.After(until) {
			r.gaveUp = true
		}
		if r.gaveUp {
			return until, false
		}
	}
	if r != nil && q.pass > 1 {
		if c, due := r.way(t.Proto).control(q.pass, t.Proto, targetsBy(q.plan.Space, addr, t.Proto)); due {
			q.controls = append(q.controls, probe.Probe{Target: c, Attempt: q.pass, Control: true, Until: until})
		}
	}
	return until, true
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
func (q *queue) take(r *probe.Result) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.plan.Untold {
		q.lastSign = time.Now()
	}
	if r.Attempt == q.pass {
		q.flying--
	}
	news := q.note(r)
	if q.flying <= 0 || q.ledger.counts[silent] == 0 {
		close(q.changed)
		q.changed = make(chan struct{})
	}
	return news
}

// note enters one report in the books and says whether it is news.
func (q *queue) note(r *probe.Result) (news bool) {
	place, ok := q.plan.Place(r.Target)
	if !ok || place < q.span.Lo || place >= q.span.Hi {
		return false
	}
	i := place - q.span.Lo
	switch {
	case r.State == probe.Unsent:
		q.unsent(i, r)
		return false
	case r.Control:
		q.controlled(r)
	case r.Attempt == q.pass:
		if run := &q.out[q.place(i)/runLength]; *run > 0 {
			*run--
		}
	}
	if r.Reason.Silent() {
		if r.Reason == probe.NoNeighbor {
			q.hosts.of(r.Target.Addr()).nobody = true
		}
		return false
	}
	first := q.ledger.answer(i) == silent
	if news = q.ledger.put(i, r.State); !news {
		return false
	}
	q.enter(r, first)
	q.meter.heard(first, r.State == probe.Open)
	return true
}

// enter notes of a host what an answer of its says.
func (q *queue) enter(r *probe.Result, first bool) {
	h := q.hosts.of(r.Target.Addr())
	if first {
		q.heard = true
		h.heard(r, max(1, r.Attempt))
	}
	if r.State == probe.Open && r.Target.Proto == probe.TCP {
		h.openTCP++
	}
}

// unsent notes that a probe stayed here. A place whose probe was not sent is not accounted for.
func (q *queue) unsent(i uint64, r *probe.Result) {
	q.probes--
	if !r.Control {
		q.ledger.setUnsent(i, true)
	} else if h := q.hosts[r.Target.Addr()]; h != nil {
		c := &h.way(r.Target.Proto).controls
		c.asked -= min(c.asked, 1)
		c.back++ // it is not owed
	}
	if q.localErr == nil {
		q.localErr = r.Err // nil for what an interruption left, or the end of the host's time
	}
	if q.plan.HostTimeout > 0 && r.Err == nil {
		h := q.hosts.of(r.Target.Addr())
		h.gaveUp = h.gaveUp || time.Since(h.begun) > q.plan.HostTimeout
	}
}

// controlled notes what a control brought.
func (q *queue) controlled(r *probe.Result) {
	h := q.hosts[r.Target.Addr()]
	if h == nil || r.Reason.Silent() {
		return
	}
	if c := &h.way(r.Target.Proto).controls; c.pass == r.Attempt {
		c.back++
		c.answered++
	}
}
