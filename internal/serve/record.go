package serve

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

var (
	errStopped = errors.New("the server stops")
	errCut     = errors.New("the server stops, its grace is over")
)

// A record is what a connection's events tell of it, whichever way it is served. Who serves it writes it, until it has ended.
type record struct {
	peer, local netip.AddrPort
	opened      time.Time
	closed      time.Time
	in, out     uint64
	err         error // what ended it
	unread      bool  // the peer has input for us that nobody will read
}

func newRecord(conn sock.Accepted) record {
	r := record{opened: time.Now(), peer: addrPort(conn.RemoteAddr())}
	if c, ok := conn.(interface{ LocalAddr() net.Addr }); ok {
		r.local = addrPort(c.LocalAddr())
	}
	return r
}

// begun tells of the connection's beginning.
func (r *record) begun() Event {
	return Event{Kind: Opened, Time: r.opened, Peer: r.peer, Local: r.local}
}

// ended tells how the connection ended.
func (r *record) ended() Event {
	e := Event{Kind: Ended, Time: r.closed, Peer: r.peer, Local: r.local, In: r.in, Out: r.out, Duration: r.closed.Sub(r.opened), Err: r.err}
	switch {
	case errors.Is(r.err, ErrHandshake):
		e.Ending = sock.EndingOf(r.err)
	case errors.Is(r.err, ErrTruncated):
		e.Ending = sock.ByPeer
	case errors.Is(r.err, ErrDone):
		e.Ending = sock.ByUs
	case r.err == nil, errors.Is(r.err, errStopped):
		e.Ending, e.Err = sock.ByUs, nil
		e.Cut = r.err != nil && r.unread
	case errors.Is(r.err, errCut):
		e.Ending, e.Cut = sock.ByUs, true
	case errors.Is(r.err, io.EOF):
		e.Ending, e.Err = sock.ByPeer, nil
	default:
		e.Ending = sock.EndingOf(r.err)
	}
	return e
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
