package serve

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"sonde/internal/sock"
)

// A steady is a connection's TCP. While the server goes on and the peer reads, its Write does not end: TLS above it would not
// survive a deadline that is over.
type steady struct {
	net.Conn
	of   *Conn
	idle bool // the idle time-out is for writes; otherwise they have the deadline that was set
}

// Write sends all of p, or as much as the peer took before it took nothing for the idle time-out.
func (s *steady) Write(p []byte) (sent int, err error) {
	if !s.idle {
		return s.Conn.Write(p)
	}
	for {
		if err := s.of.armWrite(); err != nil {
			return sent, err
		}
		before := s.of.untaken()
		n, err := s.Conn.Write(p[sent:])
		sent += n
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, err
		}
		if err := s.of.whyWriteEnded(n > 0 || s.of.untaken() < before); err != nil {
			return sent, err
		}
	}
}

// untaken returns how much the peer has not read, as far as that is known; 0 if there is no time-out to ask for.
func (c *Conn) untaken() int {
	wire, ok := c.wire.(syscall.Conn)
	if !ok || c.idle == 0 {
		return 0
	}
	n, _ := sock.Untaken(wire)
	return n
}

// armWrite sets the deadline of the write to come.
func (c *Conn) armWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := c.stop
	if c.cut {
		return errCut
	}
	if c.idle > 0 {
		deadline = time.Now().Add(c.idle)
		if !c.stop.IsZero() {
			deadline = earlier(deadline, c.stop)
		}
	}
	if deadline.IsZero() {
		return nil
	}
	return c.wire.SetWriteDeadline(deadline)
}

// whyWriteEnded says why a write whose deadline is over must end, if it must: it goes on if the peer has read meanwhile.
func (c *Conn) whyWriteEnded(moved bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stopped := !c.stop.IsZero() && !time.Now().Before(c.stop)
	if moved && !stopped && !c.cut {
		return nil
	}
	c.writeIdle = true
	if stopped {
		c.cut = true
		return errCut
	}
	return &IdleError{For: c.idle, Write: true}
}
