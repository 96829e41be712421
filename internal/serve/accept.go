package serve

import (
	"context"
	"net"
	"sync"

	"sonde/internal/sock"
)

// An arrival is a connection, or trouble in accepting one.
type arrival struct {
	conn  sock.Accepted
	carry func(record) // sees conn through to its end, elsewhere
	err   error
}

// startAccepting accepts from each listener in a goroutine of its own. The function it returns
// closes the listeners and returns when the goroutines have ended.
func (r *run) startAccepting(listeners []net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	spare := sock.NewSpare()
	var group sync.WaitGroup
	var closers []func() error
	for _, l := range listeners {
		if streams, ok := r.streams(l); ok {
			closers = append(closers, streams.Close)
			group.Go(func() { acceptFrom(ctx, r, sock.NewAcceptor(streams, spare), r.loops.carry) })
			continue
		}
		closers = append(closers, l.Close)
		group.Go(func() { acceptFrom(ctx, r, sock.NewAcceptor(l, spare), r.goroutines.carry) })
	}
	return func() {
		cancel()
		for _, shut := range closers {
			_ = shut()
		}
		group.Wait()
		_ = spare.Close()
	}
}

// streams takes over a listener whose connections event loops can serve.
func (r *run) streams(l net.Listener) (*sock.StreamListener, bool) {
	if _, tcp := l.(*net.TCPListener); !tcp || r.Handle != nil || r.TLS != nil || r.loops.start() != nil {
		return nil, false
	}
	streams, err := sock.ListenStreams(l)
	return streams, err == nil
}

func acceptFrom[C sock.Accepted](ctx context.Context, r *run, a *sock.Acceptor[C], carry func(C, record)) {
	for ctx.Err() == nil {
		next := arrival{}
		conn, err := a.Accept(ctx)
		if err != nil {
			next.err = err
		} else {
			next.conn, next.carry = conn, func(rec record) { carry(conn, rec) }
		}
		select {
		case r.arrivals <- next:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}
}
