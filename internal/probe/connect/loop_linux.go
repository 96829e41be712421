package connect

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

const (
	maxLoops    = 2                      // one a core; more made no scan faster
	firstWindow = 256                    // in flight at the start, in each loop
	growTime    = 100 * time.Millisecond // how often it is asked whether the window holds the scan up
)

// Probe implements scan.Prober.
func (p *Prober) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	window, short, err := p.window()
	if err != nil {
		return err
	}
	s, err := p.share(report)
	if err != nil {
		return err
	}
	if short != nil {
		s.tellShortage(short)
	}
	s.hosts.perHost = p.PerHost
	loops := min(maxLoops, runtime.GOMAXPROCS(0), max(1, window/batch))
	g, ctx := errgroup.WithContext(ctx)
	for range loops {
		g.Go(func() error { return s.loop(ctx, due, window/loops) })
	}
	if err = g.Wait(); err != nil {
		p.known = nil // it counts flights that were cut short
		for _, rest := range s.hosts.rest() {
			s.tell(unsent(rest, nil))
		}
	}
	return err
}

// A loop keeps connections in flight, on one goroutine. Its times are since hosts.base.
type loop struct {
	*shared
	dialer *sock.Dialer
	feed   *feed

	window, ceiling, limit int // in flight at most: now, until a shortage is over, ever
	inFlight               int
	measured               time.Duration // when it was last asked whether the window holds the loop up
	held                   time.Duration // how long the loop has waited since with its window full
	flights                []flight      // by descriptor
	timers                 timers        // when to look at each flight
	waiting                []admitted    // to be sent; those without a host are not admitted yet
	reserved               []admitted    // to be sent later, the first first
	fresh                  []probe.Probe
	freed                  []admitted
	results                []probe.Result

	shortSince time.Duration // when the shortage at hand began; 0 without one
	retryAt    time.Duration // when to try again if nothing in flight ends before; 0: now
}

// A flight is a connection in the making.
type flight struct {
	admitted
	start time.Duration
	live  bool
}

// loop runs one loop to its end.
func (s *shared) loop(ctx context.Context, due probe.Due, window int) error {
	d, err := sock.NewDialer()
	if err != nil {
		return fmt.Errorf("start an event loop: %w", err)
	}
	defer d.Close()
	d.Source4, d.Source6, d.Interface = s.prober.Source4, s.prober.Source6, s.prober.Interface
	l := &loop{shared: s, dialer: d, feed: newFeed(), window: min(firstWindow, window), ceiling: window, limit: window}

	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, d.Wake)()
	var pump sync.WaitGroup
	pump.Go(func() { l.feed.pump(ctx, due, d.Wake) })
	defer pump.Wait()
	defer l.feed.close()
	defer cancel()
	l.measured = l.now()
	return l.run(ctx)
}

func (l *loop) now() time.Duration { return time.Since(l.hosts.base) }

// run sends what is due and takes in what comes, until there is no more of either.
func (l *loop) run(ctx context.Context) error {
	var fds []int
	for ctx.Err() == nil {
		done, wait := l.refill()
		l.send()
		l.tell(l.results...)
		l.results = l.results[:0]
		if done && l.inFlight+len(l.waiting)+len(l.reserved) == 0 {
			return nil
		}
		// What has not ended by now, once all that has come by now is taken in, has expired.
		now := l.now()
		var err error
		if fds, err = l.gather(fds, now, l.idle(now, wait)); err != nil {
			return err
		}
		l.expire(now)
	}
	l.giveBack()
	l.tell(l.results...)
	return ctx.Err()
}

// refill takes in what the feed has, and says how much more it may bring. It returns whether that is all there
// will ever be, and how long to wait at most before asking again; below 0: for ever.
func (l *loop) refill() (done bool, wait time.Duration) {
	room, wait := l.window-l.inFlight-len(l.waiting), time.Duration(-1)
	if l.hosts.isFull() {
		room, wait = 0, growTime // another loop may make room
	}
	l.fresh, done = l.feed.take(l.fresh[:0], room)
	for _, p := range l.fresh {
		l.waiting = append(l.waiting, admitted{Probe: p})
	}
	return done, wait
}

// giveBack returns what was taken and will not be sent.
func (l *loop) giveBack() {
	l.refill()
	for _, a := range append(l.waiting, l.reserved...) {
		l.results = append(l.results, unsent(a.Probe, nil))
	}
}

// gather waits for sockets and takes in all that have an outcome.
func (l *loop) gather(fds []int, before, wait time.Duration) ([]int, error) {
	full := l.inFlight >= l.window
	if full && l.window < l.ceiling {
		wait = sooner(wait, growTime)
	}
	runtime.Gosched() // the feed may have a batch at hand; once this waits in the kernel, it takes long until others may run in its place
	fds, more, err := l.dialer.Wait(fds[:0], wait)
	now := l.now()
	l.measure(before, now, full)
	l.land(fds, now)
	for err == nil && more {
		fds, more, err = l.dialer.Wait(fds[:0], 0)
		l.land(fds, l.now())
	}
	return fds, err
}

// measure doubles the window when the loop spent most of its time waiting with it full. Where
// answers come as fast as they can be taken in, more in flight would only cost memory; that
// nobody answers says nothing against more.
func (l *loop) measure(before, after time.Duration, full bool) {
	if full {
		l.held += after - before
	}
	if period := after - l.measured; period >= growTime {
		if l.held > period/2 {
			l.window = min(2*l.window, l.ceiling)
		}
		l.measured, l.held = after, 0
	}
}

// idle returns how long, at most wait, nothing will happen unless a socket or a new probe says so; below 0: for ever.
func (l *loop) idle(now, wait time.Duration) time.Duration {
	if _, at, ok := l.timers.first(); ok {
		wait = sooner(wait, at-now)
	}
	if len(l.reserved) > 0 {
		wait = sooner(wait, l.reserved[0].at-now)
	}
	if l.retryAt > 0 {
		wait = sooner(wait, l.retryAt-now)
	}
	return wait
}

// sooner returns the shorter of two waits, of which the first may be below 0: for ever.
func sooner(wait, other time.Duration) time.Duration {
	other = max(other, 0)
	if wait < 0 {
		return other
	}
	return min(wait, other)
}
