package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"sonde/internal/cert"
	"sonde/internal/sock"
)

// A TLSConn is a connection under TLS. Its Read returns io.EOF for the peer's close_notify alone,
// and ErrTruncated for a FIN without one (RFC 8446 section 6.1): crypto/tls takes both for the end where
// a record is whole.
type TLSConn struct {
	*tls.Conn
	under *watched
}

// ErrTruncated says that the peer's side was closed by TCP and not by TLS: anybody on the way can have done
// that, and what came may not be all.
var ErrTruncated = errors.New("FIN without close_notify: what came may be cut short")

// Read reads what the peer sent.
func (c *TLSConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) && c.under.eof.Load() {
		return n, ErrTruncated
	}
	return n, err
}

// NetConn returns the connection under TLS, as it was given to StartTLS.
func (c *TLSConn) NetConn() net.Conn { return c.under.Conn }

// watched is a connection that remembers whether its peer's FIN came.
type watched struct {
	net.Conn
	eof atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		w.eof.Store(true)
	}
	return n, err
}

// A TLSError says why a connection did not come under TLS.
type TLSError struct {
	Peer   string
	Ending sock.Ending // Reset, TimedOut, Limit; else Failed: the one did not trust the other, mostly
	Err    error
	Cert   *x509.Certificate // the one that the peer showed; nil: it showed none
}

// Error names the peer and the reason.
func (e *TLSError) Error() string {
	switch e.Ending {
	case sock.TimedOut:
		return fmt.Sprintf("TLS with %s: the handshake was not over within %v", e.Peer, e.Err)
	case sock.Reset:
		return fmt.Sprintf("TLS with %s: the peer reset the connection (RST) during the handshake", e.Peer)
	}
	return fmt.Sprintf("TLS with %s: %v", e.Peer, cert.Explain(e.Err))
}

// Unwrap returns crypto/tls's error.
func (e *TLSError) Unwrap() error { return e.Err }

// StartTLS brings conn, to a peer of that name, under TLS within the Dialer's Timeout. On failure conn is closed. Its error
// is a *TLSError, or the cause of ctx's end.
func (d Dialer) StartTLS(ctx context.Context, conn net.Conn, peer string, trust cert.Trust) (*TLSConn, error) {
	under := &watched{Conn: conn}
	c := tls.Client(under, trust.Config())
	within, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	err := c.HandshakeContext(within)
	if err == nil {
		return &TLSConn{c, under}, nil
	}
	_ = conn.Close() // in order, so that the peer reads our alert
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case within.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &TLSError{Peer: peer, Ending: sock.TimedOut, Err: lateError(d.timeout())}
	}
	ending := sock.EndingOf(err)
	if ending == sock.ByPeer { // a FIN during the handshake is no way to end one
		ending = sock.Failed
	}
	e := &TLSError{Peer: peer, Ending: ending, Err: err}
	if shown := c.ConnectionState().PeerCertificates; len(shown) > 0 {
		e.Cert = shown[0]
	}
	return nil, e
}

// A lateError is the time that something had.
type lateError time.Duration

func (e lateError) Error() string { return time.Duration(e).String() }
func (lateError) Timeout() bool   { return true }
