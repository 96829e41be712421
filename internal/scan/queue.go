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
	cursor   cursor
	untold   untold
	unproved bool // silence is no verdict: too many answers were lost here
	hosts    records
	mayAsk   bool   // controls
	pass     uint8  // from 1
	next     uint64 // how many places of this pass were looked at
	controls []control
	gap      time.Duration // from one probe of a host to the next at the least
	floor    time.Time     // no host is asked before that
	held     time.Time     // what comes next in this pass is held up until then
	flying   int           // probes of this pass that are not accounted for; those to a forgetful prober do not count
	out      []uint16      // of those, how many of each run of runLength places; controls left out
	heard    bool          // did this pass hear anything new
	over     bool          // there will be no more passes
	changed  chan struct{} // closed, and replaced, when those who wait should look again
	localErr error         // the first thing of ours that kept a probe here
	probes   uint64
	begun    time.Time
	before   time.Duration // spent by earlier runs
}

// runLength is how many places are accounted for together.
const runLength = 256

func newQueue(job *Job) *queue {
	plan, span, meter, past := &job.Plan, job.Span, job.Meter, job.Past
	n := span.Hi - span.Lo
	q := &queue{plan: plan, span: span, whole: plan.isWhole(span), meter: meter, ledger: newLedger(n), hosts: newRecords(plan.Space),
		cursor: cursor{plan: plan}, untold: findUntold(job.Prober), gap: plan.gap(), mayAsk: mayControl(plan.Space),
		out: make([]uint16, (n+runLength-1)/runLength), changed: make(chan struct{}), begun: time.Now()}
	if past == nil {
		past = &Past{Mark: Mark{Pass: 1}}
	}
	q.floor = q.begun.Add(q.gap) // the stage before may have asked just now
	q.replay(past)
	q.untold.beginPass()
	meter.begin(max(1, q.pass), n)
	return q
}

// replay brings the queue to where an earlier run left it.
func (q *queue) replay(past *Past) {
	answers := uint64(0)
	if past.Answers != nil {
		for r := range past.Answers {
			if i, rank, ok := q.locate(r.Target); ok {
				q.note(i, rank, &r)
			}
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
	if q.untold.prober != nil {
		m.Done = min(m.Done, q.untold.accounted(q.plan.Timeout))
	}
	for addr, r := range q.hosts.all() {
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
		m.Pass, m.Done, m.Attempts, m.Unsent = 0, 0, q.pass, q.ledger.runs(q.unproved)
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
		if r := q.hosts.get(addr); (r == nil || r.answered == 0) && nobody(addr) {
			q.hosts.of(addr).nobody = true
		}
	}
}

// end ends the span: nothing more is asked.
func (q *queue) end() {
	q.over = true
	for _, r := range q.hosts.byRank {
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
				if n := q.fillAll(buf[:k]); n > 0 {
					return n, true
				}
			}
		case stepWait:
			q.await(ctx, wait, false)
		case stepHold:
			q.await(ctx, wait, true)
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
	stepHold        // nothing may be sent just now
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
		if wait := q.holdUp(now); wait > 0 {
			return stepHold, wait
		}
		return stepSend, 0
	}
	if q.flying > 0 {
		return stepWait, time.Hour // each probe is accounted for, sooner or later
	}
	if !q.untold.isSettled(q.plan.Timeout) {
		return stepHold, settlePause
	}
	if !q.another() && !q.again() {
		q.end()
		return stepDone, 0
	}
	q.pass, q.next, q.flying, q.heard = q.pass+1, 0, 0, false
	q.untold.beginPass()
	q.floor = now.Add(q.gap)
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
	for _, r := range q.hosts.byRank {
		if r.owes(q.pass) {
			return true
		}
	}
	return false
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

// holdProbes is how many probes are handed out at a time while the lock is held: who reports waits as long.
const holdProbes = 256

// fillAll is fill for any number.
func (q *queue) fillAll(buf []probe.Probe) (n int) {
	for n < len(buf) {
		part := buf[n:min(n+holdProbes, len(buf))]
		k := q.fill(part)
		if n += k; k < len(part) {
			break
		}
	}
	return n
}

// fill hands out the next silent targets of this pass, and the controls among them.
func (q *queue) fill(buf []probe.Probe) (n int) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	for n < len(buf) {
		if len(q.controls) > 0 && !q.controls[0].due.After(now) {
			buf[n] = q.controls[0].Probe
			q.controls = q.controls[1:]
			n++
			continue
		}
		if !q.skipAnswered() {
			break
		}
		k := q.next
		t := q.cursor.at(q.span.Lo + q.place(k))
		if q.isGivenUp(t.Addr(), now) {
			q.next++
			continue
		}
		if !q.pace(now) {
			break
		}
		q.next++
		until := q.admit(t, now)
		q.ledger.setUnsent(q.place(k), false)
		buf[n] = probe.Probe{Target: t, Attempt: q.pass, Until: until}
		if !q.untold.protos[t.Proto] {
			q.out[k/runLength]++
		}
		n++
	}
	q.hand(buf[:n], now)
	q.probes += uint64(n)
	q.meter.sent(q.pass, uint64(n))
	return n
}

// hand enters in the books that probes were handed out.
func (q *queue) hand(probes []probe.Probe, now time.Time) {
	if q.untold.prober == nil {
		q.flying += len(probes)
		return
	}
	for i := range probes {
		if q.untold.protos[probes[i].Proto] {
			q.untold.handed++
		} else {
			q.flying++
		}
	}
	q.untold.note(now, q.next)
}

// isGivenUp says whether the time of a host is over, and notes that it has begun.
func (q *queue) isGivenUp(addr netip.Addr, now time.Time) bool {
	if q.plan.HostTimeout == 0 {
		return false
	}
	r := q.hosts.of(addr)
	if r.begun == 0 {
		r.begun = max(1, now.Sub(q.begun))
	}
	r.gaveUp = r.gaveUp || now.After(q.begun.Add(r.begun+q.plan.HostTimeout))
	return r.gaveUp
}

// admit says until when a silent target of a host may be asked, and lets a control be asked if one falls due with it.
func (q *queue) admit(t probe.Target, now time.Time) (until time.Time) {
	addr := t.Addr()
	if q.plan.HostTimeout == 0 && (q.pass == 1 || !q.mayAsk) {
		return until
	}
	r := q.hosts.get(addr)
	if q.plan.HostTimeout > 0 {
		until = q.begun.Add(r.begun + q.plan.HostTimeout)
	}
	if r != nil && q.pass > 1 && q.mayAsk {
		if c, due := r.way(t.Proto).control(q.pass, t.Proto, targetsBy(q.plan.Space, addr, t.Proto)); due {
			q.control(probe.Probe{Target: c, Attempt: q.pass, Control: true, Until: until}, now)
		}
	}
	return until
}

// await returns when something changed, at the latest after wait; what is held up waits for no probe in flight.
func (q *queue) await(ctx context.Context, wait time.Duration, held bool) {
	q.mu.Lock()
	changed := q.changed
	over := !held && q.flying <= 0 || q.ledger.counts[silent] == 0
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
	i, rank, ok := q.locate(r.Target)
	q.mu.Lock()
	defer q.mu.Unlock()
	told := !q.untold.protos[r.Target.Proto]
	if told && r.Attempt == q.pass {
		q.flying--
	}
	news := ok && q.note(i, rank, r)
	if told && q.flying <= 0 || q.ledger.counts[silent] == 0 {
		close(q.changed)
		q.changed = make(chan struct{})
	}
	return news
}

// locate returns which place of the span a target has, and the rank of its host; false if it is not in the span.
func (q *queue) locate(t probe.Target) (i, rank uint64, ok bool) {
	place, rank, ok := q.plan.locate(t)
	return place - q.span.Lo, rank, ok && place >= q.span.Lo && place < q.span.Hi
}

// note enters one report, about place i and the host with that rank, in the books and says whether it is news.
func (q *queue) note(i, rank uint64, r *probe.Result) (news bool) {
	if q.untold.protos[r.Target.Proto] && r.State != probe.Unsent && q.ledger.answer(i) != silent { // what forgets does not know its controls
		r.Control = r.Control || q.hosts.ranked(rank).isControl(r, q.pass)
	}
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
			q.hosts.ranked(rank).nobody = true
		}
		return false
	}
	first := q.ledger.answer(i) == silent
	if news = q.ledger.put(i, r.State); !news {
		return false
	}
	q.enter(q.hosts.ranked(rank), r, first)
	q.meter.heard(first, r.State == probe.Open)
	return true
}

// enter notes of a host what an answer of its says.
func (q *queue) enter(h *record, r *probe.Result, first bool) {
	if first {
		q.heard = true
		h.heard(r, max(1, r.Attempt), q.mayAsk)
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
	} else if h := q.hosts.get(r.Target.Addr()); h != nil {
		c := &h.way(r.Target.Proto).controls
		c.asked -= min(c.asked, 1)
		c.back++ // it is not owed
	}
	if q.localErr == nil {
		q.localErr = r.Err // nil for what an interruption left, or the end of the host's time
	}
	if q.plan.HostTimeout > 0 && r.Err == nil {
		h := q.hosts.of(r.Target.Addr())
		h.gaveUp = h.gaveUp || time.Since(q.begun)-h.begun > q.plan.HostTimeout
	}
}

// controlled notes what a control brought.
func (q *queue) controlled(r *probe.Result) {
	h := q.hosts.get(r.Target.Addr())
	if h == nil || r.Reason.Silent() {
		return
	}
	if c := &h.way(r.Target.Proto).controls; c.pass == r.Attempt {
		c.back++
		c.answered++
	}
}
