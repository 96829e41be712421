package serve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

// A run is one call of Serve. Its goroutine decides who is admitted and tells the events; goroutines and loops
// see the admitted through.
type run struct {
	*Server
	arrivals   chan arrival
	ended      endings
	goroutines goroutines
	loops      loops
	open       int
	sources    map[netip.Addr]int // of the open by source, if they are limited

	refused     [refusals]Tally
	lastRefused [refusals]netip.AddrPort
	trouble     Tally
	lastTrouble error
}

func newRun(s *Server) *run {
	r := &run{Server: s, arrivals: make(chan arrival), sources: make(map[netip.Addr]int), ended: endings{some: make(chan struct{}, 1)}}
	counts := s.Counts
	if counts == nil {
		counts = new(Counts) // which nobody reads
	}
	r.goroutines = goroutines{handle: s.handler(), tls: s.TLS, idle: s.IdleTimeout, counts: counts, ended: r.ended.add, open: make(map[*Conn]struct{})}
	r.loops = loops{answer: s.Answer, idle: s.IdleTimeout, counts: counts, ended: r.ended.add}
	return r
}

// close ends what served the connections, when there are none any more.
func (r *run) close() {
	r.goroutines.wait()
	r.loops.close()
}

// accept serves until ctx ends, Once has its connection, or a listener fails; then nothing is
// accepted any more.
func (r *run) accept(ctx context.Context, listeners []net.Listener) error {
	stop := r.startAccepting(listeners)
	defer stop()
	for {
		select {
		case a := <-r.arrivals:
			switch {
			case a.conn != nil:
				if r.take(a, stop) {
					return nil
				}
			case errors.Is(a.err, net.ErrClosed):
				return a.err
			default:
				r.failed(a.err)
			}
		case <-r.ended.some:
			r.end()
		case now := <-r.notice():
			r.tellDue(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// take has a connection served, if it is admitted. It reports whether it is the last.
func (r *run) take(a arrival, stop func()) (last bool) {
	rec, admitted := r.admit(a.conn)
	if !admitted {
		return false
	}
	if r.Once {
		stop() // before this one is answered, so that nobody comes after it
	}
	a.carry(rec)
	return r.Once
}

// admit takes a connection in, or turns it away.
func (r *run) admit(conn sock.Accepted) (rec record, admitted bool) {
	rec = newRecord(conn)
	if why, refused := r.refusal(rec.peer.Addr()); refused {
		r.refuse(why, rec.peer)
		sock.TurnAway(conn)
		return rec, false
	}
	r.enter(rec.peer.Addr())
	r.tell(rec.begun())
	return rec, true
}

// refusal returns why a client from an address is not admitted now, if it is not.
func (r *run) refusal(from netip.Addr) (why Refusal, refused bool) {
	switch {
	case !r.Access.Permits(from):
		return Denied, true
	case r.MaxConns > 0 && r.open >= r.MaxConns:
		return Full, true
	case r.MaxPerSource > 0 && r.sources[sourceOf(from)] >= r.MaxPerSource:
		return FullOfOne, true
	}
	return 0, false
}

func (r *run) enter(from netip.Addr) {
	r.open++
	if r.MaxPerSource > 0 {
		r.sources[sourceOf(from)]++
	}
	if r.Counts != nil {
		r.Counts.Open.Add(1)
		r.Counts.Accepted.Add(1)
	}
}

func (r *run) leave(from netip.Addr) {
	r.open--
	if r.MaxPerSource > 0 {
		of := sourceOf(from)
		if r.sources[of]--; r.sources[of] == 0 {
			delete(r.sources, of)
		}
	}
	if r.Counts != nil {
		r.Counts.Open.Add(-1)
	}
}

// sourceOf returns for whom a client counts: its IPv4 address, or the /64 of its IPv6 address, of which a host can have as many as it likes.
func sourceOf(client netip.Addr) netip.Addr {
	if client.Is6() {
		if network, err := client.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return client
}

// finish waits for the open connections, and once ctx has ended no longer than the grace.
func (r *run) finish(ctx context.Context, now bool) {
	grace := r.Grace
	done := ctx.Done()
	if now {
		done = closedChannel()
	}
	var cut <-chan time.Time
	for r.open > 0 {
		select {
		case <-r.ended.some:
			r.end()
		case <-done:
			done = nil
			if now || errors.Is(context.Cause(ctx), ErrNow) {
				grace = 0
			}
			r.goroutines.stop(grace)
			r.loops.stop(grace)
			cut = time.After(grace)
		case <-cut:
			r.goroutines.cut()
			r.loops.cut()
		}
	}
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// end takes note of the connections that have ended.
func (r *run) end() {
	for _, rec := range r.ended.take() {
		r.leave(rec.peer.Addr())
		r.tell(rec.ended())
	}
}
