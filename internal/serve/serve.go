// Package serve provides the answering side's part that all servers share: it binds addresses,
// accepts TCP connections and sees each of them to its end, and receives datagrams until told to stop.
//
// A Server owns its listeners and connections and closes them. Connections do not know each
// other: the reset of one never touches another. Nothing is logged here; what happened is told
// as Events, and who prints them is the caller's business.
package serve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

// Limits bound what a server does for its clients. The zero value bounds nothing and waits for nobody.
type Limits struct {
	MaxConns    int           // connections at the same time, over all listeners; who comes on top is closed at once. 0: no limit
	IdleTimeout time.Duration // a connection without progress ends after it; a peer that does not read makes none. 0: never
	Grace       time.Duration // how long connections have to end once the server is to stop
	Once        bool          // serve one connection, then return
}

// A Server hands each connection to Handle, which returns when the conversation is over with
// what Conn's Next or Write returned: io.EOF for the peer's FIN. A nil error says that this side ended it, and so does
// one that is ErrDone.
type Server struct {
	Limits
	Handle func(*Conn) error
	Event  func(Event) // called from one goroutine at a time; may be nil
}

// Kind is what an Event tells.
type Kind uint8

// The kinds of Event. Refused and Trouble are told at once when they first happen and then
// once per NoticeInterval, with a count.
const (
	Opened  Kind = iota
	Ended        // with In, Out, Duration, Ending, Err and Cut
	Refused      // Count clients met MaxConns and were closed at once, Peer the last of them
	Trouble      // Count accepts failed, Err is the last of them; the server goes on
)

// NoticeInterval is the least time between two notices of the same kind of trouble.
const NoticeInterval = 10 * time.Second

// An Event is something that happened to a connection, or that kept one from being.
type Event struct {
	Kind        Kind
	Time        time.Time
	Peer, Local netip.AddrPort // never an IPv4 address in IPv6 clothes
	In, Out     uint64         // bytes
	Duration    time.Duration
	Ending      sock.Ending
	Err         error // what ended it, nil after an orderly end; the handler's if that is ErrDone
	Cut         bool  // it was busy when the grace ended: the peer missed something
	Count       int
}

// ErrDone is for a handler that ends a connection and says why: its error wraps this one.
var ErrDone = errors.New("closed by the server")

// ErrNow as the cause of a context that ends takes the grace away.
var ErrNow = errors.New("stop at once")

// Serve accepts from all listeners and closes them. It returns nil when ctx has ended, or with
// Once the one connection, and every connection has too: a quiet one is half-closed and
// drained, a busy one goes on, until the grace ends and cuts them. It returns an error if a
// listener was closed by somebody else.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	r := &run{Server: s, arrivals: make(chan arrival), ended: make(chan *Conn), open: make(map[*Conn]struct{})}
	err := r.accept(ctx, listeners)
	r.finish(ctx, err != nil)
	r.tellRest()
	return err
}

// A run is one call of Serve. Its goroutine owns the connections' list and tells the events.
type run struct {
	*Server
	buffers  sock.Buffers
	arrivals chan arrival
	ended    chan *Conn
	open     map[*Conn]struct{}

	refused, trouble Tally
	lastRefused      netip.AddrPort
	lastTrouble      error
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
				if r.admit(a.conn) && r.Once {
					return nil
				}
			case errors.Is(a.err, net.ErrClosed):
				return a.err
			default:
				r.lastTrouble = a.err
				r.tellTrouble(r.trouble.Add(time.Now(), 1))
			}
		case c := <-r.ended:
			r.end(c)
		case now := <-r.notice():
			r.tellRefused(r.refused.Due(now))
			r.tellTrouble(r.trouble.Due(now))
		case <-ctx.Done():
			return nil
		}
	}
}

// admit starts a connection, or turns it away at the limit.
func (r *run) admit(conn net.Conn) bool {
	if r.MaxConns > 0 && len(r.open) >= r.MaxConns {
		r.lastRefused = addrPort(conn.RemoteAddr())
		_ = conn.Close()
		r.tellRefused(r.refused.Add(time.Now(), 1))
		return false
	}
	c := newConn(conn, &r.buffers, r.IdleTimeout)
	r.open[c] = struct{}{}
	r.tell(Event{Kind: Opened, Time: c.opened, Peer: c.peer, Local: c.local})
	go func() {
		c.serve(r.Handle)
		r.ended <- c
	}()
	return true
}

// finish waits for the open connections, and once ctx has ended no longer than the grace.
func (r *run) finish(ctx context.Context, now bool) {
	grace := r.Grace
	done := ctx.Done()
	if now {
		done = closedChannel()
	}
	var cut <-chan time.Time
	for len(r.open) > 0 {
		select {
		case c := <-r.ended:
			r.end(c)
		case <-done:
			done = nil
			if now || errors.Is(context.Cause(ctx), ErrNow) {
				grace = 0
			}
			end := time.Now().Add(grace)
			for c := range r.open {
				c.stopBy(end, min(quietAfter, grace/2))
			}
			cut = time.After(grace)
		case <-cut:
			for c := range r.open {
				c.cutNow()
			}
		}
	}
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (r *run) end(c *Conn) {
	delete(r.open, c)
	r.tell(c.ended())
}

func (r *run) tell(e Event) {
	if r.Event != nil {
		r.Event(e)
	}
}

func (r *run) tellRefused(count int) {
	if count > 0 {
		r.tell(Event{Kind: Refused, Time: time.Now(), Peer: r.lastRefused, Count: count})
	}
}

func (r *run) tellTrouble(count int) {
	if count > 0 {
		r.tell(Event{Kind: Trouble, Time: time.Now(), Err: r.lastTrouble, Count: count})
	}
}

// tellRest tells what waited for its interval's end.
func (r *run) tellRest() {
	r.tellRefused(r.refused.Rest())
	r.tellTrouble(r.trouble.Rest())
}

// notice returns a channel that receives when a count is due to be told.
func (r *run) notice() <-chan time.Time {
	wake := r.refused.Wake()
	if t := r.trouble.Wake(); wake.IsZero() || !t.IsZero() && t.Before(wake) {
		wake = t
	}
	if wake.IsZero() {
		return nil
	}
	return time.After(time.Until(wake))
}
