// Package serve provides the answering side's part that all servers share: it binds addresses,
// accepts TCP connections and sees each of them to its end, and receives datagrams until told to stop.
//
// A Server owns its listeners and connections and closes them. Connections do not know each
// other: the reset of one never touches another. Nothing is logged here; what happened is told
// as Events, and who prints them is the caller's business.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

// Limits bound what a server does for its clients. The zero value bounds nothing and waits for nobody.
type Limits struct {
	MaxConns     int           // connections at the same time, over all listeners; who comes on top is closed at once. 0: no limit
	MaxPerSource int           // of them, from one IPv4 address or one /64 of IPv6. 0: no limit
	Access       Access        // who may connect; others are closed at once
	Grace        time.Duration // how long connections have to end once the server is to stop
	Once         bool          // serve one connection, then return
	// IdleTimeout is after how long a connection without progress ends; 0: never. A peer that does not read makes none, one
	// that reads slowly does: what its system acknowledges counts (on Linux), even if there is no room to send more yet.
	IdleTimeout time.Duration
}

// A Server hands each connection to Handle, or to Answer if there is no Handle.
type Server struct {
	Limits
	// Handle has a goroutine for each connection. It returns when the conversation is over with what Conn's Next or Write
	// returned: io.EOF for the peer's FIN. A nil error says that this side ended it, and so does one that is ErrDone.
	Handle func(*Conn) error
	// Answer is for a protocol in which what came settles what is sent back: it returns that, valid until it is called again; it
	// may be its argument. It is called from several goroutines, and must not wait. Then connections need no goroutines: where the
	// system can (Linux, TCP) an event loop for each processor serves them all.
	Answer func(data []byte) []byte
	TLS    *tls.Config // if set, every connection is TLS; one that comes to none ends with ErrHandshake
	Event  func(Event) // called from one goroutine at a time; may be nil
	Counts *Counts     // adds up what happens; may be nil
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
	Err         error // what ended it, nil after an orderly end; the handler's if that is ErrDone, with TLS maybe ErrHandshake or ErrTruncated
	Cut         bool  // it was busy when the grace ended: the peer missed something
	Count       int
	Why         Refusal
}

// ErrDone is for a handler that ends a connection and says why: its error wraps this one.
var ErrDone = errors.New("closed by the server")

// ErrNow as the cause of a context that ends takes the grace away.
var ErrNow = errors.New("stop at once")

// Serve accepts from all listeners and closes them, those of TCP perhaps at once: it takes their sockets over. It returns nil when
// ctx has ended, or with Once the one connection, and every connection has too: a quiet one is half-closed and
// drained, a busy one goes on, until the grace ends and cuts them. It returns an error if a
// listener that was not taken over was closed by somebody else.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	r := newRun(s)
	defer r.close()
	err := r.accept(ctx, listeners)
	r.finish(ctx, err != nil)
	r.tellRest()
	return err
}

// handler returns what has a goroutine for each connection.
func (s *Server) handler() func(*Conn) error {
	if s.Handle != nil {
		return s.Handle
	}
	return func(c *Conn) error {
		for {
			data, err := c.Next()
			if err != nil {
				return err
			}
			if _, err := c.Write(s.Answer(data)); err != nil {
				return err
			}
		}
	}
}
