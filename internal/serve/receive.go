package serve

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"sonde/internal/sock"
)

// A PacketReader is the reading side of a datagram socket, sock.UDP or a test's.
type PacketReader interface {
	ReadBatch([]sock.Datagram) (int, error)
	SetReadDeadline(time.Time) error
}

// A Receiver hands datagrams over, batch by batch, until it is told to stop.
type Receiver struct {
	// Handle gets what came, valid until it returns. It may ask to be called again at some
	// time with nothing; the zero time asks for nothing.
	Handle func([]sock.Datagram) (wake time.Time)
	// Trouble is told of errors that are no datagram; may be nil. The receiver goes on.
	Trouble func(error)
}

// Rests after an error, so that a socket in trouble costs no processor.
const (
	firstRest = time.Millisecond
	lastRest  = time.Second
)

// Receive reads from c until ctx ends, and returns nil then. No error of a datagram ends it:
// only c being closed by somebody else does. It leaves c open.
func (r Receiver) Receive(ctx context.Context, c PacketReader) error {
	defer interruptible(ctx, c)()
	batch := make([]sock.Datagram, sock.MaxBatch)
	var rest time.Duration
	var wake time.Time
	for {
		err := c.SetReadDeadline(wake)
		if ctx.Err() != nil {
			return nil
		}
		n := 0
		if err == nil {
			n, err = c.ReadBatch(batch)
		}
		switch {
		case n > 0:
			wake, rest = r.Handle(batch[:n]), 0
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			wake = r.Handle(nil)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			rest = min(max(2*rest, firstRest), lastRest)
			r.trouble(ctx, err, rest)
		}
	}
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
