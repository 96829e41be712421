// Package listen provides a server that receives and answers nothing: what TCP peers and
// senders of datagrams say becomes Messages.
//
// A message is a datagram or a line of a TCP connection; with Raw it is all that a TCP connection
// brings until its end, handed over in parts as they come. Messages go to a Sink, which writes
// them as text, JSON lines or bare bytes. A Sink that fails ends the server.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

// A Message is what a peer said: a datagram, a line over TCP without its newline, or with
// Raw a part of what the connection brings.
type Message struct {
	Proto       probe.Proto
	Peer, Local netip.AddrPort // Local is not valid when the system does not say where a datagram was sent to
	Time        time.Time
	Truncated   bool   // a datagram longer than Data
	Split       bool   // a part of a line that is longer than MaxLine, or than there is room for with so many unfinished ones; the next part follows
	Unfinished  bool   // the connection ended before the line did
	Data        []byte // valid during the call that gets it
}

// A Sink takes what happens, one call at a time.
type Sink interface {
	Listening(proto probe.Proto, local netip.AddrPort) error
	Message(Message) error
	Connection(serve.Event) error // Opened and Ended only
}

// A Conn is a datagram socket, *sock.UDP or a test's.
type Conn interface {
	ReadBatch([]sock.Datagram) (int, error)
	SetReadDeadline(time.Time) error
}

// A Server receives. Its zero value needs a Sink.
type Server struct {
	serve.Limits
	Sink   Sink
	Raw    bool                 // TCP input as it is read: a connection is one message, not each line
	Count  int                  // end after as many messages; 0: never. Of more than that nothing goes to Sink
	Event  func(serve.Event)    // tells of TCP connections, after Sink; one goroutine at a time; may be nil
	TLS    *tls.Config          // if set, every TCP connection is TLS
	Counts *serve.Counts        // adds up what happens over TCP; may be nil
	UDP    *UDPCounts           // adds up what comes over UDP; may be nil
	Missed func(n int, _ error) // tells that reading datagrams failed n times, once per serve.NoticeInterval; may be nil
	Lost   func(n int)          // tells that the kernel dropped n datagrams, once per serve.NoticeInterval; may be nil
}

// UDPCounts are the datagrams that servers have had so far. They may be read at any time.
type UDPCounts struct {
	In     atomic.Uint64 // in all
	Denied atomic.Uint64 // of them, those whose sender Limits.Access does not permit; nobody is told of them
}

// ErrEnough is the Err of connections that end because of Count.
var ErrEnough = fmt.Errorf("%w: as many messages as wanted", serve.ErrDone)

// Serve receives from the listeners, which it closes, and the conns, which it does not, until
// ctx ends (it returns nil then, the connections having had their grace), Count is reached
// (nil, at once) or the Sink fails (its error).
func (s *Server) Serve(ctx context.Context, listeners []net.Listener, conns []Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{Server: s, room: newRoom(mostHeld), end: func(cause error) { cancel(errors.Join(serve.ErrNow, cause)) }}
	group, ctx := errgroup.WithContext(ctx)
	if len(listeners) > 0 {
		group.Go(func() error {
			server := serve.Server{Limits: s.Limits, Handle: r.connection, Event: r.event, Counts: s.Counts, TLS: s.TLS}
			err := server.Serve(ctx, listeners...)
			if err == nil && s.Once {
				cancel(nil)
			}
			return err
		})
	}
	if len(conns) > 0 {
		group.Go(func() error { return r.datagrams(ctx, conns) })
	}
	err := group.Wait()
	if r.failed != nil {
		return r.failed
	}
	return err
}

// A run is one call of Serve. All that goes to the Sink goes through it, under its lock.
type run struct {
	*Server
	room *room // for unfinished lines
	end  func(cause error)

	mu          sync.Mutex
	begun, done int   // messages, never more than Count if that is set
	failed      error // of the Sink
}

// message hands the whole of a message to the Sink, unless the end has come. It returns an
// error when it has.
func (r *run) message(m Message) error {
	if err := r.begin(); err != nil {
		return err
	}
	if err := r.part(m); err != nil {
		return err
	}
	return r.finish()
}

// begin returns an error if no more messages are wanted. Otherwise finish ends the message.
func (r *run) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.failed != nil:
		return r.failed
	case r.Count > 0 && r.begun == r.Count:
		return ErrEnough
	}
	r.begun++
	return nil
}

// part hands a part of a message to the Sink.
func (r *run) part(m Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.check(r.Sink.Message(m))
	}
	return r.failed
}

// finish counts a message. It returns an error if that was the last one wanted.
func (r *run) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.enough() {
		r.end(ErrEnough)
		return ErrEnough
	}
	return r.failed
}

func (r *run) enough() bool { return r.Count > 0 && r.done == r.Count }

// check ends the server if the Sink has failed.
func (r *run) check(err error) {
	if err != nil && r.failed == nil {
		r.failed = err
		r.end(err)
	}
}

func (r *run) event(e serve.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind == serve.Ended && e.Ending == sock.ByUs && r.enough() {
		e.Cut, e.Err = false, ErrEnough // it had no grace to be busy in
	}
	if r.failed == nil && (e.Kind == serve.Opened || e.Kind == serve.Ended) {
		r.check(r.Sink.Connection(e))
	}
	if r.Event != nil {
		r.Event(e)
	}
}

// connection receives from one TCP peer to its end.
func (r *run) connection(c *serve.Conn) error {
	if r.Raw {
		return r.stream(c)
	}
	l := lines{room: r.room, emit: func(m Message) error {
		m.Proto, m.Peer, m.Local, m.Time = probe.TCP, c.Peer(), c.Local(), time.Now()
		return r.message(m)
	}}
	err := each(c, l.take)
	if errors.Is(err, ErrEnough) {
		return err // and the room is no longer needed
	}
	_ = l.finish() // what stopped the Sink is told already
	return err
}

// stream receives one message: all that comes until the connection's end.
func (r *run) stream(c *serve.Conn) error {
	if err := r.begin(); err != nil {
		return err
	}
	err := each(c, func(data []byte) error {
		return r.part(Message{Proto: probe.TCP, Peer: c.Peer(), Local: c.Local(), Time: time.Now(), Data: data})
	})
	_ = r.finish() // this connection has ended by itself
	return err
}

// each hands what comes to take until one of them fails.
func each(c *serve.Conn, take func([]byte) error) error {
	for {
		data, err := c.Next()
		if err == nil {
			err = take(data)
		}
		if err != nil {
			return err
		}
	}
}
