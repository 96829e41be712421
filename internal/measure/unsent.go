package measure

// passOver counts what is due and not sent as unsent.
func (f *flow) passOver() {
	if n := f.due.Load() - f.sent; f.run.table != nil && n > 0 {
		f.unsent(n, ErrDown)
		f.track.skip(n)
		f.sent += n
	}
}

// unsent counts the next n probes as unsent, and tells of them. The lock is held.
func (f *flow) unsent(n uint64, why error) {
	f.track.Probes += n
	f.track.Unsent += n
	for i := range n {
		if f.run.Reply == nil {
			return
		}
		f.run.reply(Reply{Conn: f.index, Seq: f.track.next + i, Fate: Unsent, Err: why})
	}
}

// missed counts a probe that a closed loop could not send: with nobody there it would never end.
func (f *flow) missed() {
	if f.run.table != nil || f.run.tickets.Add(-1) < 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.unsent(1, ErrDown)
	}
}
