package serve

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// quietAfter is how long nothing must have come for a connection to count as quiet when
	// the server stops: more than a slow path's round trip.
	quietAfter = 250 * time.Millisecond
	// lingerTime is how long the peer's FIN is waited for after ours, while the server goes on.
	lingerTime = time.Second
)

// An IdleError says that a connection made no progress for the idle time-out. It is os.ErrDeadlineExceeded.
type IdleError struct {
	For   time.Duration
	Write bool // the peer did not read, rather than not send
}

// Error tells what was waited for.
func (e *IdleError) Error() string {
	if e.Write {
		return fmt.Sprintf("the peer read nothing for %v", e.For)
	}
	return fmt.Sprintf("nothing came for %v", e.For)
}

// Unwrap returns os.ErrDeadlineExceeded.
func (e *IdleError) Unwrap() error { return os.ErrDeadlineExceeded }

// A source lends what has come, until its next call.
type source interface {
	Next() ([]byte, error)
	Release()
}

// A Conn is one accepted connection, as its handler sees it. The handler's goroutine alone calls its methods, or one
// reads and another, which it waits for, writes. They must not close it.
type Conn struct {
	record
	wire      net.Conn   // TCP
	steady    *steady    // wire, as what is written goes there
	conn      net.Conn   // what is talked over: steady, or TLS on it
	secure    *tlsReader // TLS, if it is
	reader    source
	idle      time.Duration
	counts    *Counts
	writeIdle bool // the peer does not read
	reset     bool // the handler wants it to end so

	mu         sync.Mutex // the server's stop against the handler's deadlines
	stop       time.Time  // the end of the grace; zero while the server goes on
	quiet      time.Duration
	quietUntil time.Time
	cut        bool
}

// Peer returns the client's address, never an IPv4 address in IPv6 clothes.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// Local returns the address the client connected to.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Next waits for bytes and returns what came, valid until Next is called again. It returns
// io.EOF at the peer's FIN, an *IdleError after the idle time-out, and another error when the
// server stops and the connection is quiet.
func (c *Conn) Next() ([]byte, error) {
	c.reader.Release()
	if err := c.armRead(); err != nil {
		return nil, err
	}
	data, err := c.read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.whyReadEnded()
	}
	return data, err
}

// Reset makes the end of the connection a RST, once the handler has returned. Next waits no more, for a handler whose
// goroutines use the two directions each.
func (c *Conn) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset = true
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *Conn) read() ([]byte, error) {
	data, err := c.reader.Next()
	c.in += uint64(len(data))
	c.counts.In.Add(uint64(len(data)))
	return data, err
}

// Write sends all of p. It fails with an *IdleError when the peer has taken nothing for the
// idle time-out.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.conn.Write(p)
	c.out += uint64(n)
	c.counts.Out.Add(uint64(n))
	return n, err
}

// armRead sets the deadline of the read to come.
func (c *Conn) armRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cut, c.reset:
		return errCut
	case !c.stop.IsZero():
		c.quietUntil = time.Now().Add(c.quiet)
		return c.conn.SetReadDeadline(earlier(c.quietUntil, c.stop))
	case c.idle > 0:
		return c.conn.SetReadDeadline(time.Now().Add(c.idle))
	}
	return nil
}

func (c *Conn) whyReadEnded() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stop.IsZero():
		return &IdleError{For: c.idle}
	case c.cut, c.quietUntil.After(c.stop):
		c.cut = true
		return errCut
	}
	return errStopped
}

// stopBy tells a connection to end by itself: at once if nothing comes for quiet, and at end latest.
func (c *Conn) stopBy(end time.Time, quiet time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop, c.quiet = end, quiet
	c.quietUntil = time.Now().Add(quiet)
	_ = c.conn.SetReadDeadline(earlier(c.quietUntil, end))
	_ = c.conn.SetWriteDeadline(end)
}

// cutNow ends whatever the connection is doing.
func (c *Conn) cutNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	_ = c.conn.SetDeadline(time.Unix(1, 0))
}

// serve runs the conversation and closes the connection.
func (c *Conn) serve(handle func(*Conn) error) {
	c.err = handle(c)
	c.close()
}

// close ends the connection as c.err wants it.
func (c *Conn) close() {
	c.reader.Release()
	c.steady.idle = false // TLS has a deadline for its close_notify
	switch {
	case c.writeIdle, c.reset:
		c.abort()
	case c.err == nil, errors.Is(c.err, ErrDone), errors.Is(c.err, ErrHandshake),
		errors.Is(c.err, errStopped), errors.Is(c.err, os.ErrDeadlineExceeded):
		c.halfClose()
	case errors.Is(c.err, io.EOF) && c.secure != nil:
		_ = c.secure.CloseWrite()
	}
	c.reader.Release()
	_ = c.wire.Close()
}

// abort makes the close a RST: what the peer does not read must not stay with us.
func (c *Conn) abort() {
	if t, ok := c.wire.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
}

// halfClose sends our FIN, behind TLS's close_notify, and reads on to the peer's: a close with unread input would be a
// RST and could destroy what we sent last (RFC 1122 section 4.2.2.13).
func (c *Conn) halfClose() {
	if c.secure != nil {
		_ = c.secure.CloseWrite() // fails if there is no TLS yet
	}
	t, ok := c.wire.(interface{ CloseWrite() error })
	if !ok || t.CloseWrite() != nil || !c.armLinger() {
		return
	}
	for {
		data, err := c.read()
		c.unread = c.unread || len(data) > 0
		if err != nil {
			c.unread = c.unread && !errors.Is(err, io.EOF)
			return
		}
	}
}

func (c *Conn) armLinger() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := c.stop
	if deadline.IsZero() {
		deadline = time.Now().Add(lingerTime)
	}
	return !c.cut && c.conn.SetReadDeadline(deadline) == nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
