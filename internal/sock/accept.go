package sock

import (
	"context"
	"errors"
	"fmt"
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
type Acceptor struct {
	listener net.Listener
	spare    *os.File
	rest     time.Duration
}

// NewAcceptor accepts from l, which stays the caller's to close.
func NewAcceptor(l net.Listener) *Acceptor {
	a := &Acceptor{listener: l}
	_ = a.takeSpare() // without it there is still the rest
	return a
}

// Close gives the spare descriptor back.
func (a *Acceptor) Close() error { return a.giveSpare() }

// Accept returns the next connection. An error that is net.ErrClosed or ctx's is the end;
// any other tells of trouble that is dealt with, a client turned away maybe: call again.
func (a *Acceptor) Accept(ctx context.Context) (net.Conn, error) {
	conn, err := a.listener.Accept()
	for isAborted(err) {
		conn, err = a.listener.Accept()
	}
	if err == nil {
		a.rest = 0
		return conn, nil
	}
	if errors.Is(err, net.ErrClosed) {
		return nil, err
	}
	if a.spare != nil && IsLimit(err) {
		if conn, done, err := a.turnAway(err); done {
			return conn, err
		}
	}
	if !a.pause(ctx) {
		return nil, ctx.Err()
	}
	_ = a.takeSpare()
	return nil, err
}

// turnAway accepts with the spare's descriptor. If meanwhile there is room again, the client
// is served after all. It reports whether a client was taken off the queue, or the listener ended.
func (a *Acceptor) turnAway(limit error) (conn net.Conn, done bool, err error) {
	_ = a.giveSpare()
	conn, err = a.listener.Accept()
	if err != nil {
		return nil, errors.Is(err, net.ErrClosed), err
	}
	a.rest = 0
	if a.takeSpare() == nil {
		return conn, true, nil
	}
	peer := conn.RemoteAddr()
	_ = conn.Close()
	_ = a.takeSpare()
	return nil, true, fmt.Errorf("turned %v away: %w", peer, limit)
}

func (a *Acceptor) pause(ctx context.Context) bool {
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

func (a *Acceptor) takeSpare() (err error) {
	if a.spare == nil {
		a.spare, err = os.Open(os.DevNull)
		if err != nil {
			a.spare = nil
		}
	}
	return err
}

func (a *Acceptor) giveSpare() error {
	if a.spare == nil {
		return nil
	}
	spare := a.spare
	a.spare = nil
	return spare.Close()
}
