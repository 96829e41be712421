package serve

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/sock"
)

// A PacketReader is the reading side of a datagram socket, sock.UDP or a test's.
type PacketReader interface {
	ReadBatch([]sock.Datagram) (int, error)
	SetReadDeadline(time.Time) error
}

// A Receiver hands datagrams over, batch by batch, until it is told to stop.
type Receiver struct {
	// Handle gets what came to the conn of that place, valid until it returns; it is called from one goroutine at a
	// time. It may ask to be called again at some time with nothing, for NoPlace; the zero time asks for nothing.
	Handle func(place int, ds []sock.Datagram) (wake time.Time)
	// Trouble is told of errors that are no datagram, as Handle is; may be nil. The receiver goes on.
	Trouble func(error)
}

// NoPlace is the place of no conn.
const NoPlace = -1

// Rests after an error, so that a socket in trouble costs no processor.
const (
	firstRest = time.Millisecond
	lastRest  = time.Second
)

// Receive reads from all conns until ctx ends, and returns nil then. No error of a datagram ends it: only one of them
// being closed by somebody else does. It leaves them open. Where the system can wait for many sockets at once they cost a goroutine and buffers
// together, elsewhere each.
func (r Receiver) Receive(ctx context.Context, conns ...PacketReader) error {
	if us := sockets(conns); us != nil {
		g, err := sock.NewGather(us)
		if err != nil {
			return err
		}
		defer g.Close()
		return r.gather(ctx, g)
	}
	if len(conns) > 1 {
		r = r.oneAtATime()
	}
	group, ctx := errgroup.WithContext(ctx)
	for place, c := range conns {
		group.Go(func() error { return r.receive(ctx, place, c) })
	}
	return group.Wait()
}

// sockets returns what can be gathered: all of conns or, if one cannot, nothing.
func sockets(conns []PacketReader) (us []*sock.UDP) {
	if !sock.Gathers {
		return nil
	}
	for _, c := range conns {
		u, ok := c.(*sock.UDP)
		if !ok {
			return nil
		}
		us = append(us, u)
	}
	return us
}

func (r Receiver) oneAtATime() Receiver {
	var mu sync.Mutex
	locked := Receiver{Handle: func(place int, ds []sock.Datagram) time.Time {
		mu.Lock()
		defer mu.Unlock()
		return r.Handle(place, ds)
	}}
	if r.Trouble != nil {
		locked.Trouble = func(err error) {
			mu.Lock()
			defer mu.Unlock()
			r.Trouble(err)
		}
	}
	return locked
}

// gather reads from all sockets of g. One in trouble makes the others rest too, for no longer than a millisecond while they have something to read.
func (r Receiver) gather(ctx context.Context, g *sock.Gather) error {
	defer context.AfterFunc(ctx, g.Wake)()
	return r.handle(ctx, g.Next)
}

// receive reads from one.
func (r Receiver) receive(ctx context.Context, place int, c PacketReader) error {
	defer interruptible(ctx, c)()
	return r.handle(ctx, func(batch []sock.Datagram, until time.Time) (int, int, error) {
		err := c.SetReadDeadline(until)
		if err != nil || ctx.Err() != nil { // whose deadline may have been overwritten
			return place, 0, err
		}
		n, err := c.ReadBatch(batch)
		return place, n, err
	})
}

// handle hands over what next reads, which waits until the time it is given, if any, and says at which place it was.
func (r Receiver) handle(ctx context.Context, next func(batch []sock.Datagram, until time.Time) (place, n int, err error)) error {
	batch := make([]sock.Datagram, sock.MaxBatch)
	var rest time.Duration
	var wake time.Time
	for ctx.Err() == nil {
		if !wake.IsZero() && !time.Now().Before(wake) {
			wake = r.Handle(NoPlace, nil)
		}
		place, n, err := next(batch, wake)
		switch {
		case n > 0:
			wake, rest = r.Handle(place, batch[:n]), 0
		case ctx.Err() != nil, errors.Is(err, sock.ErrWoken), errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			rest = min(max(2*rest, firstRest), lastRest)
			r.trouble(ctx, err, rest)
		}
	}
	return nil
}

func (r Receiver) trouble(ctx context.Context, err error, rest time.Duration) {
	if r.Trouble != nil {
		r.Trouble(err)
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// interruptible makes the end of ctx wake a read on c, until the function it returns has returned.
func interruptible(ctx context.Context, c PacketReader) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.SetReadDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}
