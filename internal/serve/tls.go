package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"sonde/internal/sock"
)

// handshakeTime is how long a client has for its TLS handshake, at most.
const handshakeTime = 10 * time.Second

var (
	// ErrHandshake is the error of a connection that came to no TLS.
	ErrHandshake = errors.New("TLS handshake failed")
	// ErrTruncated is the error of a TLS connection whose peer ended TCP and not TLS (RFC 8446 section 6.1): what came may not be
	// all that was sent. It is io.ErrUnexpectedEOF.
	ErrTruncated = fmt.Errorf("the peer's FIN came without its close_notify: %w", io.ErrUnexpectedEOF)
)

// A tlsReader reads from a TLS connection as sock.Reader does from another: an idle one holds no buffer of ours.
type tlsReader struct {
	*tls.Conn
	wire    *sock.Patient
	buffers *sock.Buffers
	lent    *sock.Buffer
}

// newTLSReader makes TLS of c's wire.
func newTLSReader(c *Conn, config *tls.Config, buffers *sock.Buffers) *tlsReader {
	wire := sock.NewPatient(c.wire)
	c.steady = &steady{Conn: wire, of: c}
	return &tlsReader{Conn: tls.Server(c.steady, config), wire: wire, buffers: buffers}
}

// Next returns what came, valid until it is called again or Release is. The peer's close_notify is io.EOF, its FIN alone ErrTruncated.
func (r *tlsReader) Next() ([]byte, error) {
	for {
		r.Release()
		r.lent = r.buffers.Get()
		n, err := r.Read(r.lent[:])
		if n > 0 {
			return r.lent[:n], nil // an error will come again
		}
		r.Release()
		switch {
		case err == nil:
		case !errors.Is(err, sock.ErrWouldBlock):
			return nil, r.why(err)
		default:
			if err := r.wire.Ready(); err != nil {
				return nil, err
			}
		}
	}
}

// why tells the two ends apart that crypto/tls does not between two records.
func (r *tlsReader) why(err error) error {
	if r.wire.Finished() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return ErrTruncated
	}
	return err
}

// Release gives back the buffer that Next lent.
func (r *tlsReader) Release() {
	if r.lent != nil {
		r.buffers.Put(r.lent)
		r.lent = nil
	}
}

// handshake makes the connection one of TLS. What is asked for afterwards is in TLS.
func (c *Conn) handshake() error {
	if err := c.armHandshake(); err != nil {
		return err
	}
	err := c.secure.Handshake()
	if err == nil {
		c.secure.wire.Eager()
		c.steady.idle = true
		return c.conn.SetDeadline(time.Time{})
	}
	if c.isStopping() {
		return errStopped
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}

func (c *Conn) armHandshake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stop.IsZero() {
		return errStopped
	}
	patience := handshakeTime
	if c.idle > 0 {
		patience = min(patience, c.idle)
	}
	return c.conn.SetDeadline(time.Now().Add(patience))
}

func (c *Conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.stop.IsZero()
}

// TLS returns what the handshake agreed on, nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.secure == nil {
		return nil
	}
	state := c.secure.ConnectionState()
	return &state
}
