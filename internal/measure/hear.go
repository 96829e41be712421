package measure

import "time"

// feed takes what was read from a stream.
func (f *flow) feed(p []byte) {
	now := f.run.now()
	f.mu.Lock()
	f.hear(now)
	if !f.ended {
		f.stream.Feed(p)
	}
	f.mu.Unlock()
	f.moved()
}

// hear notes when something came.
func (f *flow) hear(now time.Duration) {
	f.now = now
	if f.firstHeard || f.firstSent < 0 {
		return
	}
	f.firstHeard = true
	f.run.mu.Lock()
	defer f.run.mu.Unlock()
	f.run.firstByte.Record(now - f.firstSent)
}

// moved wakes whoever may have waited for a reply.
func (f *flow) moved() {
	if f.run.table == nil {
		f.wake()
	}
	if f.run.over() {
		f.run.settle()
	}
}

// received takes a payload that came, whole or not. The lock is held.
func (f *flow) received(seq uint64, d *Damage) {
	if d != nil && d.Kind == Foreign {
		f.stranger(d)
		return
	}
	reordered := f.track.Reordered
	fate, s := f.track.reply(seq, f.now, d)
	if fate == Unasked {
		return
	}
	if !f.run.heard.Load() {
		f.run.heard.Store(true)
	}
	var latency, service time.Duration
	if s != (slot{}) { // forgotten, it has no times
		latency, service = f.now-s.intended, f.now-s.sent
	}
	if fate == Answered || fate == Late && s != (slot{}) {
		f.run.records[f.index%len(f.run.records)].record(latency, service)
	}
	if d != nil {
		f.run.event(Event{Kind: Damaged, Conn: f.index, Err: d})
	}
	if f.run.Reply != nil {
		f.run.reply(Reply{Conn: f.index, Seq: seq, Fate: fate, Latency: latency, Service: service, Reordered: f.track.Reordered > reordered, Damage: d})
	}
}

// stranger takes what is nothing of ours. If nothing else has come, there is no echo server.
func (f *flow) stranger(d *Damage) {
	f.track.Foreign++
	if !f.run.heard.Load() {
		f.run.fail(&StrangerError{d.Got})
		return
	}
	f.run.event(Event{Kind: Damaged, Conn: f.index, Err: d})
}

// givenUp tells of a probe that is lost. The lock is held.
func (f *flow) givenUp(seq uint64, _ slot) {
	if f.run.Reply != nil {
		f.run.reply(Reply{Conn: f.index, Seq: seq, Fate: Lost, Err: f.why})
	}
}

func (f *flow) expire(now time.Duration) {
	f.mu.Lock()
	before := f.track.Lost
	f.track.expire(now, f.lost)
	given := f.track.Lost - before
	f.mu.Unlock()
	if given > 0 && f.run.table == nil {
		f.wake()
	}
}

// idle reports whether all that was handed out has its fate. What falls due without a connection has: it is unsent.
func (f *flow) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.track.Pending == 0 && f.claimed == 0 && (f.run.table == nil || f.down || f.sent == f.due.Load())
}

func (f *flow) counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.track.Counts
}

// end closes the books. What is due and not sent was held up by the peer, who did not read: it is unsent, or
// pending if the run was interrupted.
func (f *flow) end(interrupted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stream != nil {
		f.stream.Close()
	}
	f.ended = true // from here on nothing is counted
	held := uint64(0)
	if f.run.table != nil {
		held = f.due.Load() - f.sent
	}
	if interrupted {
		f.track.Probes += held
		f.track.Pending += held
		return
	}
	why := ErrHeld
	if f.down {
		why = ErrDown
	}
	f.unsent(held, why)
	f.track.abandon(f.lost)
}
