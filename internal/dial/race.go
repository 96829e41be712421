package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

// attemptDelay is how long one address may stay silent before the next is tried beside it: the
// Connection Attempt Delay that RFC 8305 section 5 recommends.
const attemptDelay = 250 * time.Millisecond

// ErrLost ended an attempt because another address answered first.
var ErrLost = errors.New("another address answered first")

// An Attempt is what came of one address.
type Attempt struct {
	Addr netip.AddrPort
	Took time.Duration // since it was begun
	Err  error         // nil: connected; ErrLost; else an *Error
}

// Race connects to the first of several addresses that answers (Happy Eyeballs, RFC 8305): they are tried in
// their order, each 250 ms after the one before, or at once when that has failed, and the first
// connection ends all other attempts. tell is called by this goroutine for every attempt that was begun, as it ends.
//
// When no address answers the error is the *Error that tells most of the peer; when ctx ends it is the cause.
func (d Dialer) Race(ctx context.Context, addrs []netip.AddrPort, tell func(Attempt)) (*net.TCPConn, error) {
	conn, err := race(ctx, addrs, tell, func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		conn, err := d.DialTCP(ctx, addr)
		if err != nil {
			return nil, err // and not a nil *net.TCPConn
		}
		return conn, nil
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// Interleave orders the addresses of a name for Race: as they come (a resolver sorts them by RFC 6724),
// but the families by turns, beginning with that of the first (RFC 8305 section 4).
func Interleave(addrs []netip.Addr) []netip.Addr {
	if len(addrs) == 0 {
		return nil
	}
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	order := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(first), len(second)) {
		order = append(order, first[min(i, len(first)):min(i+1, len(first))]...)
		order = append(order, second[min(i, len(second)):min(i+1, len(second))]...)
	}
	return order
}

// A runner is an attempt that has ended.
type runner struct {
	Attempt
	conn net.Conn
}

// A field is the attempts of a race. All of it belongs to the goroutine that called Race.
type field struct {
	connect  func(context.Context, netip.AddrPort) (net.Conn, error)
	tell     func(Attempt)
	waiting  []netip.AddrPort
	running  int
	finished chan runner
	told     *Error // the failure that tells most, so far
}

func race(ctx context.Context, addrs []netip.AddrPort, tell func(Attempt),
	connect func(context.Context, netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	if len(addrs) == 0 {
		return nil, errors.New("no address to try")
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	f := &field{connect: connect, tell: tell, waiting: addrs, finished: make(chan runner)}
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	f.begin(ctx)
	for f.running > 0 {
		select {
		case <-timer.C:
		case r := <-f.finished:
			f.running--
			if r.Err == nil {
				tell(r.Attempt)
				stop(ErrLost)
				f.clear(true)
				return r.conn, nil
			}
			if ctx.Err() != nil {
				f.clear(false)
				return nil, context.Cause(ctx)
			}
			f.failed(r.Attempt)
		}
		f.begin(ctx)
		timer.Reset(attemptDelay)
	}
	return nil, f.told
}

// begin tries the next address, if there is one.
func (f *field) begin(ctx context.Context) {
	if len(f.waiting) == 0 {
		return
	}
	addr := f.waiting[0]
	f.waiting = f.waiting[1:]
	f.running++
	go func() {
		start := time.Now()
		conn, err := f.connect(ctx, addr)
		f.finished <- runner{Attempt{addr, time.Since(start), err}, conn}
	}()
}

func (f *field) failed(a Attempt) {
	f.tell(a)
	var e *Error
	if !errors.As(a.Err, &e) {
		e = &Error{Addr: a.Addr, Ending: sock.Failed, Err: a.Err}
	}
	if f.told == nil || e.weight() > f.told.weight() {
		f.told = e
	}
}

// clear waits for the attempts that are still running and no longer needed.
func (f *field) clear(tell bool) {
	for ; f.running > 0; f.running-- {
		r := <-f.finished
		if r.Err == nil {
			Abandon(r.conn)
			r.Err = ErrLost
		}
		if tell {
			f.tell(r.Attempt)
		}
	}
}

// weight is how much an error says of the peer: what a host answers more than what a router
// says, that more than silence, and least what never left this machine.
func (e *Error) weight() int {
	switch {
	case e.Ending == sock.Limit:
		return 5 // nothing else can be believed
	case e.Met:
		return 4
	case e.Ending == sock.Reset:
		return 3
	case e.ICMP != nil && !e.ICMP.Local:
		return 2
	case e.Ending == sock.TimedOut:
		return 1
	}
	return 0
}
