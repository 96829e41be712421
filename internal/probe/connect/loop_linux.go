package connect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

const (
	maxLoops    = 2                      // one a core; more made no scan faster
	firstWindow = 256                    // in flight at the start, in each loop
	growTime    = 100 * time.Millisecond // how often it is asked whether the window holds the scan up
	kernelRetry = time.Second            // when the kernel sends a SYN again by itself (tcp(7), RFC 6298 section 2.1)
)

// Probe implements scan.Prober.
func (p *Prober) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	window, err := p.window()
	if err != nil {
		return err
	}
	s, err := p.share(report)
	if err != nil {
		return err
	}
	loops := min(maxLoops, runtime.GOMAXPROCS(0), max(1, window/batch))
	if p.PerHost > 0 {
		loops = 1 // a host's connections are counted in one place
	}
	g, ctx := errgroup.WithContext(ctx)
	for range loops {
		g.Go(func() error { return s.loop(ctx, due, window/loops) })
	}
	return g.Wait()
}

// A loop keeps connections in flight, on one goroutine.
type loop struct {
	*shared
	dialer *sock.Dialer
	feed   *feed

	window, ceiling, limit int // in flight at most: now, until a shortage is over, ever
	inFlight               int
	measured               time.Time     // when it was last asked whether the window holds the loop up
	held                   time.Duration // how long the loop has waited since with its window full
	flights                []flight      // by descriptor
	expiries               []expiry
	waiting                []probe.Probe // taken, not yet sent
	hosts                  hostLimits
	results                []probe.Result

	shortSince time.Time // when the shortage at hand began; zero without one
	retryAt    time.Time // when to try again if nothing in flight ends before
}

// A flight is a connection in the making.
type flight struct {
	probe probe.Probe
	start time.Time
	turn  uint32 // tells apart the flights that a descriptor has had
	live  bool
}

// An expiry is when a flight will have had its time. All have equally long, so they come in the order they stand in.
type expiry struct {
	fd   int
	turn uint32
	at   time.Time
}

// loop runs one loop to its end.
func (s *shared) loop(ctx context.Context, due probe.Due, window int) error {
	d, err := sock.NewDialer()
	if err != nil {
		return fmt.Errorf("start an event loop: %w", err)
	}
	defer d.Close()
	d.Source4, d.Source6, d.Interface = s.prober.Source4, s.prober.Source6, s.prober.Interface
	l := &loop{shared: s, dialer: d, feed: newFeed(), window: min(firstWindow, window), ceiling: window, limit: window,
		hosts: hostLimits{limit: s.prober.PerHost}}

	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, d.Wake)()
	var pump sync.WaitGroup
	pump.Go(func() { l.feed.pump(ctx, due, d.Wake) })
	defer pump.Wait()
	defer l.feed.close()
	defer cancel()
	l.measured = time.Now()
	return l.run(ctx)
}

// run sends what is due and takes in what comes, until there is no more of either.
func (l *loop) run(ctx context.Context) error {
	var fds []int
	for ctx.Err() == nil {
		var done bool
		l.waiting, done = l.feed.take(l.waiting, l.window-l.inFlight-len(l.waiting)-l.hosts.parked)
		l.send()
		l.tell(l.results...)
		l.results = l.results[:0]
		if done && l.inFlight == 0 && len(l.waiting) == 0 {
			return nil
		}
		// What has not ended by now, once all that has come by now is taken in, has expired.
		now, wait := time.Now(), l.idle()
		var err error
		if fds, err = l.gather(fds, now, wait); err != nil {
			return err
		}
		l.expire(now)
	}
	l.giveBack()
	l.tell(l.results...)
	return ctx.Err()
}

// giveBack returns what was taken and will not be sent.
func (l *loop) giveBack() {
	l.waiting, _ = l.feed.take(l.waiting, 0)
	for _, p := range append(l.waiting, l.hosts.rest()...) {
		l.results = append(l.results, probe.Result{Target: p.Target, State: probe.Unsent, Reason: probe.LocalError, Attempt: p.Attempt})
	}
}

// gather waits for sockets and takes in all that have an outcome.
func (l *loop) gather(fds []int, now time.Time, wait time.Duration) ([]int, error) {
	full := l.inFlight >= l.window
	if full && l.window < l.ceiling && (wait < 0 || wait > growTime) {
		wait = growTime
	}
	fds, more, err := l.dialer.Wait(fds[:0], wait)
	l.measure(now, time.Now(), full)
	l.land(fds)
	for err == nil && more {
		fds, more, err = l.dialer.Wait(fds[:0], 0)
		l.land(fds)
	}
	return fds, err
}

// measure doubles the window when the loop spent most of its time waiting with it full. Where
// answers come as fast as they can be taken in, more in flight would only cost memory; that
// nobody answers says nothing against more.
func (l *loop) measure(before, after time.Time, full bool) {
	if full {
		l.held += after.Sub(before)
	}
	if period := after.Sub(l.measured); period >= growTime {
		if l.held > period/2 {
			l.window = min(2*l.window, l.ceiling)
		}
		l.measured, l.held = after, 0
	}
}

// idle returns how long nothing will happen unless a socket or a new probe says so; below 0: for ever.
func (l *loop) idle() time.Duration {
	for len(l.expiries) > 0 && !l.isLive(l.expiries[0]) {
		l.expiries = l.expiries[1:]
	}
	next := l.retryAt
	if len(l.expiries) > 0 && (next.IsZero() || l.expiries[0].at.Before(next)) {
		next = l.expiries[0].at
	}
	if next.IsZero() {
		return -1
	}
	return max(0, time.Until(next))
}

func (l *loop) isLive(e expiry) bool { return l.flights[e.fd].live && l.flights[e.fd].turn == e.turn }

// send launches what waits, as far as the window and the hosts' limits go.
func (l *loop) send() {
	if !l.retryAt.IsZero() && time.Now().Before(l.retryAt) {
		return
	}
	l.retryAt = time.Time{}
	sent := 0
	for sent < len(l.waiting) && l.inFlight < l.window {
		p := l.waiting[sent]
		if l.hosts.admit(p) && !l.launch(p) {
			l.hosts.takeBack(p.Addr())
			break
		}
		sent++
	}
	l.waiting = l.waiting[:copy(l.waiting, l.waiting[sent:])]
}

// launch starts the connection of one probe. It returns false if the probe has to wait
// because this machine is short of something.
func (l *loop) launch(p probe.Probe) bool {
	l.countOwn(p.AddrPort, 1)
	start := time.Now()
	fd, o, done := l.dialer.Dial(p.AddrPort)
	switch {
	case o.Ours && sock.IsLimit(o.Err) && l.wait(p.Addr(), o.Err, start):
		l.countOwn(p.AddrPort, -1)
		return false
	case done:
		l.end(p, start, fd, o)
	default:
		l.fly(fd, p, start)
	}
	return true
}

// wait notes a shortage, so that no more is asked for than there is. It returns false when
// the shortage has lasted so long that the probe must be given back.
func (l *loop) wait(to netip.Addr, err error, now time.Time) bool {
	// Without a port to come from, or without an address: the first ends when a flight does, the second never.
	if errors.Is(err, sock.ErrNotOurs) && (l.inFlight == 0 || !l.hasFamily(to)) {
		return false
	}
	l.tellShortage(err)
	if l.shortSince.IsZero() {
		l.shortSince = now
	}
	l.ceiling = max(1, l.inFlight)
	l.window = l.ceiling
	if l.inFlight == 0 {
		l.retryAt = now.Add(shortPause)
		return now.Sub(l.shortSince) < shortLimit
	}
	return true
}

func (l *loop) fly(fd int, p probe.Probe, start time.Time) {
	for fd >= len(l.flights) {
		l.flights = append(l.flights, flight{})
	}
	f := &l.flights[fd]
	*f = flight{probe: p, start: start, turn: f.turn + 1, live: true}
	l.expiries = append(l.expiries, expiry{fd, f.turn, start.Add(l.prober.Timeout)})
	l.inFlight++
	l.shortSince = time.Time{}
}

// land takes in the outcome of sockets that have one.
func (l *loop) land(fds []int) {
	for _, fd := range fds {
		if fd >= len(l.flights) || !l.flights[fd].live {
			continue
		}
		f := l.flights[fd]
		if o, done := l.dialer.Outcome(fd, f.probe.AddrPort); done {
			l.grounded(fd)
			l.end(f.probe, f.start, fd, o)
		}
	}
}

// expire gives up on the flights that have had their time at now.
func (l *loop) expire(now time.Time) {
	n := 0
	for ; n < len(l.expiries) && !l.expiries[n].at.After(now); n++ {
		e := l.expiries[n]
		if !l.isLive(e) {
			continue
		}
		p := l.flights[e.fd].probe
		l.grounded(e.fd)
		l.dialer.Abort(e.fd, p.Addr())
		l.leave(p)
		l.results = append(l.results, probe.Result{Target: p.Target, State: probe.Filtered, Reason: probe.NoResponse, Attempt: p.Attempt, Time: now})
	}
	l.expiries = l.expiries[n:]
}

// grounded makes room for another flight.
func (l *loop) grounded(fd int) {
	l.flights[fd].live = false
	l.inFlight--
	if l.ceiling < l.limit && l.shortSince.IsZero() {
		l.ceiling++
	}
}

// leave lets another probe go to the host of one that ended.
func (l *loop) leave(p probe.Probe) {
	l.countOwn(p.AddrPort, -1)
	if next, ok := l.hosts.release(p.Addr()); ok {
		l.waiting = append(l.waiting, next)
	}
}

// end gives back a probe's socket and judges the outcome.
func (l *loop) end(p probe.Probe, start time.Time, fd int, o sock.Outcome) {
	again := !o.Ours && !o.Self && l.metOurselves(p.AddrPort, o.Local)
	switch {
	case o.Err == nil:
		l.dialer.Abort(fd, p.Addr())
	case !o.Ours:
		l.dialer.Free(fd, p.Addr())
	}
	l.leave(p)
	if again {
		l.waiting = append(l.waiting, p)
		return
	}
	now := time.Now()
	r := l.judge(p, o)
	r.Target, r.Method, r.Attempt, r.Time = p.Target, probe.Connect, p.Attempt, now
	// The kernel knows how long a handshake took; of a refusal there is only when we saw it. Later than a
	// second it may be the answer to a SYN sent again, and says nothing (RFC 6298 section 3, Karn).
	rtt := now.Sub(start)
	switch {
	case o.RTT > 0:
		r.RTT = o.RTT
	case rtt < kernelRetry && r.State != probe.Unsent && r.Reason != probe.NoResponse:
		r.RTT = rtt
	}
	l.results = append(l.results, r)
}

// judge returns the verdict on an outcome, and its evidence.
func (l *loop) judge(p probe.Probe, o sock.Outcome) probe.Result {
	switch {
	case o.Err == nil && o.Self:
		return probe.Result{State: probe.Closed, Reason: probe.ConnRefused}
	case o.Err == nil:
		return probe.Result{State: probe.Open, Reason: probe.SynAck}
	case o.Ours:
		return probe.Result{State: probe.Unsent, Reason: probe.LocalError, Err: o.Err}
	case o.Network:
		return l.judgeICMP(p, o.ICMP)
	}
	state, reason, ok := verdict(o.Err)
	if !ok {
		return probe.Result{State: probe.Unsent, Reason: probe.LocalError, Err: o.Err}
	}
	return probe.Result{State: state, Reason: reason}
}

// judgeICMP returns what an ICMP error says. One that this machine sent itself says nothing
// of the target: either the next hop's link address could not be found, which is silence, or a
// rule of our own refused.
func (l *loop) judgeICMP(p probe.Probe, e sock.ICMPError) probe.Result {
	from := e.From
	if e.Local || from != p.Addr().WithZone("") && l.isOwn(from) {
		if e.Errno == syscall.EHOSTUNREACH {
			return probe.Result{State: probe.Filtered, Reason: probe.NoResponse}
		}
		err := fmt.Errorf("a rule of this machine refused to send: %w", error(e.Errno))
		return probe.Result{State: probe.Unsent, Reason: probe.LocalError, Err: err}
	}
	icmp := probe.ICMP{Type: e.Type, Code: e.Code}
	reason, ok := probe.ReasonOf(icmp, p.Addr().Is6())
	if !ok {
		return probe.Result{State: probe.Filtered, Reason: probe.NoResponse}
	}
	if from == p.Addr().WithZone("") {
		from = netip.Addr{}
	}
	return probe.Result{State: probe.Filtered, Reason: reason, From: from, ICMP: icmp}
}
