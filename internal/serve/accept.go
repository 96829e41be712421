package serve

import (
	"context"
	"net"
	"sync"

	"sonde/internal/sock"
)

// An arrival is a connection, or trouble in accepting one.
type arrival struct {
	conn net.Conn
	err  error
}

// startAccepting accepts from each listener in a goroutine of its own. The function it returns
// closes the listeners and returns when the goroutines have ended.
func (r *run) startAccepting(listeners []net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, l := range listeners {
		group.Go(func() { r.acceptFrom(ctx, l) })
	}
	return func() {
		cancel()
		for _, l := range listeners {
			_ = l.Close()
		}
		group.Wait()
	}
}

func (r *run) acceptFrom(ctx context.Context, l net.Listener) {
	a := sock.NewAcceptor(l)
	defer func() { _ = a.Close() }()
	for ctx.Err() == nil {
		conn, err := a.Accept(ctx)
		select {
		case r.arrivals <- arrival{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
}
