package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// How long an Acceptor rests after trouble: doubled each time, so that it neither spins nor sleeps on.
const (
	firstRest = 5 * time.Millisecond
	lastRest  = time.Second
	lastLook  = 100 * time.Millisecond // between two looks into the queue, where nobody wakes us
)

// An Acceptor accepts connections and outlives every error but the listener's end. At the
// descriptor limit it waits until there is a client, accepts it with the descriptor that is kept spare, and closes it at once
// (so it learns that, instead of hanging in the queue).
//
// A client that gave up while it waited (ECONNABORTED) and EINTR are no trouble and not told.
// One goroutine uses an Acceptor.
type Acceptor[C Accepted] struct {
	accept func() (C, error)
	queue  queue
	spare  *Spare
	rest   time.Duration
}

// Accepted is what an Acceptor needs of a connection: a net.Conn or a *Stream.
type Accepted interface {
	io.Closer
	RemoteAddr() net.Addr
}

// NewAcceptor accepts from l, a net.Listener or a *StreamListener, which stays the caller's to close. The spare may be shared.
func NewAcceptor[C Accepted](l interface{ Accept() (C, error) }, spare *Spare) *Acceptor[C] {
	return &Acceptor[C]{accept: l.Accept, queue: queueOf(l), spare: spare}
}

// Accept returns the next connection. An error that is net.ErrClosed or ctx's is the end;
// any other tells of trouble that is dealt with, a client turned away maybe: call again.
func (a *Acceptor[C]) Accept(ctx context.Context) (conn C, err error) {
	var none C
	conn, err = a.next()
	if IsLimit(err) { // which accept(2) says even when nobody is there
		if ended := a.await(ctx); ended != nil {
			return none, ended
		}
		conn, err = a.next()
	}
	switch {
	case err == nil:
		return a.admit(conn)
	case errors.Is(err, net.ErrClosed):
		return none, err
	case IsLimit(err):
		if peer, failed := a.spare.turnAway(a.queue); failed == nil {
			return none, a.turnedAway(peer, err)
		}
	}
	if !a.pause(ctx, lastRest) {
		return none, ctx.Err()
	}
	_ = a.spare.take()
	return none, err
}

// next is accept(2), but for clients that gave up.
func (a *Acceptor[C]) next() (C, error) {
	conn, err := a.accept()
	for isAborted(err) {
		conn, err = a.accept()
	}
	return conn, err
}

// admit lets a client in, unless the spare was lost and there is no other descriptor to become it than this client's.
func (a *Acceptor[C]) admit(conn C) (C, error) {
	limit := a.spare.take()
	if !IsLimit(limit) {
		a.rest = 0
		return conn, nil
	}
	peer := conn.RemoteAddr()
	TurnAway(conn)
	_ = a.spare.take()
	var none C
	return none, a.turnedAway(peer, limit)
}

func (a *Acceptor[C]) turnedAway(peer net.Addr, limit error) error {
	a.rest = 0
	return fmt.Errorf("turned %v away: %w", peer, limit)
}

// await waits until there is a client in the queue, if that can be found out. Its error is the end.
func (a *Acceptor[C]) await(ctx context.Context) error {
	for {
		there, err := a.queue.await()
		if there || err != nil {
			return err
		}
		if !a.pause(ctx, lastLook) {
			return ctx.Err()
		}
	}
}

func (a *Acceptor[C]) pause(ctx context.Context, most time.Duration) bool {
	a.rest = min(max(2*a.rest, firstRest), most)
	timer := time.NewTimer(a.rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// TurnAway closes a connection that nobody will talk on. Our FIN goes first: what the client has sent already makes a reset of the
// close, and who reads then finds the end all the same.
func TurnAway(conn io.Closer) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = conn.Close()
}
