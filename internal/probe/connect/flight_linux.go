package connect

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// send launches what waits, as far as the window and the hosts go.
func (l *loop) send() {
	if len(l.reserved) > 0 {
		l.redeem(l.now())
	}
	if l.retryAt > 0 && l.now() < l.retryAt {
		return
	}
	l.retryAt = 0
	sent := 0
	for sent < len(l.waiting) && l.inFlight < l.window {
		a := &l.waiting[sent]
		if l.admit(a) && !l.launch(*a) {
			break
		}
		sent++
	}
	l.waiting = l.waiting[:copy(l.waiting, l.waiting[sent:])]
}

// admit reports whether a probe goes now; if not, its host keeps it, or it has a reservation.
func (l *loop) admit(a *admitted) bool {
	if a.host != nil {
		return true
	}
	now := l.now()
	one, ok := l.hosts.admit(a.Probe, now)
	if ok && one.at > now {
		l.reserve(one)
		return false
	}
	*a = one
	return ok
}

// redeem lets those wait in line whose reservation has come due.
func (l *loop) redeem(now time.Duration) {
	n := 0
	for ; n < len(l.reserved) && l.reserved[n].at <= now; n++ {
		l.waiting = append(l.waiting, l.reserved[n])
	}
	l.reserved = l.reserved[:copy(l.reserved, l.reserved[n:])]
}

// reserve keeps a probe until its time.
func (l *loop) reserve(a admitted) {
	k := len(l.reserved)
	for k > 0 && l.reserved[k-1].at > a.at {
		k--
	}
	l.reserved = slices.Insert(l.reserved, k, a)
}

// free lets probes go that waited for their host, when the host and the rate permit.
func (l *loop) free(freed []admitted, now time.Duration) {
	for _, a := range freed {
		a.at = max(a.at, l.prober.Rate.Reserve(l.hosts.base.Add(now)).Sub(l.hosts.base))
		l.reserve(a)
	}
	l.freed = freed
}

// launch starts the connection of one probe. It returns false if the probe has to wait
// because this machine is short of something.
func (l *loop) launch(a admitted) bool {
	start := l.now()
	if l.isTooLate(&a, start) {
		return true
	}
	l.countOwn(a.AddrPort, 1)
	fd, o, done := l.dialer.Dial(a.AddrPort)
	if o.Ours && sock.IsLimit(o.Err) && l.wait(a.Addr(), o.Err, start) {
		l.countOwn(a.AddrPort, -1)
		return false
	}
	if a.reserved {
		l.free(l.hosts.sent(&a, start, l.freed[:0]), start)
	}
	if done {
		l.end(a, start, l.now(), fd, o)
	} else {
		l.fly(fd, a, start)
	}
	return true
}

// isTooLate gives a probe back that had to wait beyond its time.
func (l *loop) isTooLate(a *admitted, now time.Duration) bool {
	if !l.hosts.isLate(a.Probe, now) {
		return false
	}
	if a.reserved {
		l.free(l.hosts.sent(a, now, l.freed[:0]), now)
	}
	l.free(l.hosts.end(*a, ending{}, now, l.freed[:0]), now)
	l.results = append(l.results, unsent(a.Probe, nil))
	return true
}

// wait notes a shortage, so that no more is asked for than there is. It returns false when
// the shortage has lasted so long that the probe must be given back.
func (l *loop) wait(to netip.Addr, err error, now time.Duration) bool {
	// Without a port to come from, or without an address: the first ends when a flight does, the second never.
	if errors.Is(err, sock.ErrNotOurs) && (l.inFlight == 0 || !l.hasFamily(to)) {
		return false
	}
	l.tellShortage(err)
	if l.shortSince == 0 {
		l.shortSince = now
	}
	l.ceiling = max(1, l.inFlight)
	l.window = l.ceiling
	if l.inFlight == 0 {
		l.retryAt = now + shortPause
		return now-l.shortSince < shortLimit
	}
	return true
}

func (l *loop) fly(fd int, a admitted, start time.Duration) {
	for fd >= len(l.flights) {
		l.flights = append(l.flights, flight{})
	}
	f := &l.flights[fd]
	*f = flight{admitted: a, start: start, live: true}
	_, next := l.hosts.look(&f.admitted, 0, l.prober.Timeout)
	l.timers.set(fd, start+next)
	l.inFlight++
	l.shortSince = 0
}

// land takes in the outcome of sockets that had one at now.
func (l *loop) land(fds []int, now time.Duration) {
	for _, fd := range fds {
		if fd >= len(l.flights) || !l.flights[fd].live {
			continue
		}
		f := &l.flights[fd]
		if o, done := l.dialer.Outcome(fd, f.AddrPort); done {
			l.ground(fd)
			l.end(f.admitted, f.start, now, fd, o)
		}
	}
}

// expire looks at the flights whose time to be looked at has come by now, and gives up on those that have had their time.
func (l *loop) expire(now time.Duration) {
	for {
		fd, at, ok := l.timers.first()
		if !ok || at > now {
			return
		}
		f := &l.flights[fd]
		if expired, next := l.hosts.look(&f.admitted, now-f.start, l.prober.Timeout); expired {
			l.giveUp(fd, now)
		} else {
			l.timers.set(fd, max(f.start+next, now+1))
		}
	}
}

func (l *loop) giveUp(fd int, now time.Duration) {
	a := l.flights[fd].admitted
	l.ground(fd)
	l.dialer.Abort(fd, a.Addr())
	l.leave(a, ending{}, now)
	l.results = append(l.results, l.result(a.Probe, probe.Result{State: probe.Filtered, Reason: probe.NoResponse}, now))
}

// ground makes room for another flight.
func (l *loop) ground(fd int) {
	l.timers.stop(fd)
	l.flights[fd].live = false
	l.inFlight--
	if l.ceiling < l.limit && l.shortSince == 0 {
		l.ceiling++
	}
}

// leave lets others go to the host of a probe that is over.
func (l *loop) leave(a admitted, e ending, now time.Duration) {
	l.countOwn(a.AddrPort, -1)
	l.free(l.hosts.end(a, e, now, l.freed[:0]), now)
}

// end gives back a probe's socket and judges the outcome that was seen at now.
func (l *loop) end(a admitted, start, now time.Duration, fd int, o sock.Outcome) {
	again := !o.Ours && !o.Self && l.metOurselves(a.AddrPort, o.Local)
	switch {
	case o.Err == nil:
		l.dialer.Abort(fd, a.Addr())
	case !o.Ours:
		l.dialer.Free(fd, a.Addr())
	}
	if again {
		l.leave(a, ending{}, now)
		l.waiting = append(l.waiting, admitted{Probe: a.Probe})
		return
	}
	r := l.judge(a.Probe, o)
	answered := r.State != probe.Unsent && !r.Reason.Silent()
	// The kernel knows how long a handshake took; of a refusal there is only when we saw it.
	switch rtt := now - start; {
	case o.RTT > 0:
		r.RTT = o.RTT
	case answered && rtt < kernelRetry:
		r.RTT = max(rtt, 1)
	}
	l.leave(a, ending{answered, r.RTT}, now)
	l.results = append(l.results, l.result(a.Probe, r, now))
}

// result returns a verdict with what is said of every probe.
func (l *loop) result(p probe.Probe, r probe.Result, now time.Duration) probe.Result {
	r.Target, r.Method, r.Attempt, r.Control, r.Time = p.Target, probe.Connect, p.Attempt, p.Control, l.hosts.base.Add(now)
	return r
}
