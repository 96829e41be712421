package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// How long an Acceptor rests after trouble: doubled each time, so that it neither spins nor sleeps on.
const (
	firstRest = 5 * time.Millisecond
	lastRest  = time.Second
)

// An Acceptor accepts connections and outlives every error but the listener's end. At the
// descriptor limit it gives up a descriptor it kept spare, accepts, closes the client at once
// (who learns it, instead of hanging in the queue) and takes the spare back.
//
// A client that gave up while it waited (ECONNABORTED) and EINTR are no trouble and not told.
// One goroutine uses an Acceptor.
type Acceptor[C Accepted] struct {
	accept func() (C, error)
	spare  *os.File
	rest   time.Duration
}

// Accepted is what an Acceptor needs of a connection: a net.Conn or a *Stream.
type Accepted interface {
	io.Closer
	RemoteAddr() net.Addr
}

// NewAcceptor accepts from l, a net.Listener or a *StreamListener, which stays the caller's to close.
func NewAcceptor[C Accepted](l interface{ Accept() (C, error) }) *Acceptor[C] {
	a := &Acceptor[C]{accept: l.Accept}
	_ = a.takeSpare() // without it there is still the rest
	return a
}

// Close gives the spare descriptor back.
func (a *Acceptor[C]) Close() error { return a.giveSpare() }

// Accept returns the next connection. An error that is net.ErrClosed or ctx's is the end;
// any other tells of trouble that is dealt with, a client turned away maybe: call again.
func (a *Acceptor[C]) Accept(ctx context.Context) (conn C, err error) {
	var none C
	conn, err = a.accept()
	for isAborted(err) {
		conn, err = a.accept()
	}
	if err == nil {
		a.rest = 0
		return conn, nil
	}
	if errors.Is(err, net.ErrClosed) {
		return none, err
	}
	if a.spare != nil && IsLimit(err) {
		if conn, done, err := a.turnAway(err); done {
			return conn, err
		}
	}
	if !a.pause(ctx) {
		return none, ctx.Err()
	}
	_ = a.takeSpare()
	return none, err
}

// turnAway accepts with the spare's descriptor. If meanwhile there is room again, the client
// is served after all. It reports whether a client was taken off the queue, or the listener ended.
func (a *Acceptor[C]) turnAway(limit error) (conn C, done bool, err error) {
	_ = a.giveSpare()
	conn, err = a.accept()
	if err != nil {
		return conn, errors.Is(err, net.ErrClosed), err
	}
	a.rest = 0
	if a.takeSpare() == nil {
		return conn, true, nil
	}
	peer := conn.RemoteAddr()
	TurnAway(conn)
	_ = a.takeSpare()
	var none C
	return none, true, fmt.Errorf("turned %v away: %w", peer, limit)
}

func (a *Acceptor[C]) pause(ctx context.Context) bool {
	a.rest = min(max(2*a.rest, firstRest), lastRest)
	timer := time.NewTimer(a.rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Acceptor[C]) takeSpare() (err error) {
	if a.spare == nil {
		a.spare, err = os.Open(os.DevNull)
		if err != nil {
			a.spare = nil
		}
	}
	return err
}

func (a *Acceptor[C]) giveSpare() error {
	if a.spare == nil {
		return nil
	}
	spare := a.spare
	a.spare = nil
	return spare.Close()
}

// TurnAway closes a connection that nobody will talk on. Our FIN goes first: what the client has sent already makes a reset of the
// close, and who reads then finds the end all the same.
func TurnAway(conn io.Closer) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = conn.Close()
}
