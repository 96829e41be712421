// Package dial makes connections and says, where there is none, why and who said so.
//
// A Dialer connects to one address; Race tries several. What they return belongs to the caller,
// who closes it. Nothing here has words for the end of a conversation, only for its beginning.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A Dialer connects to one address at a time.
type Dialer struct {
	Source  netip.AddrPort // of our end; the zero value leaves address and port to the system
	Timeout time.Duration  // for connecting; zero is 10 seconds
}

// DefaultTimeout is how long connecting may take when a Dialer does not say.
const DefaultTimeout = 10 * time.Second

// An Error says why there is no connection.
type Error struct {
	Addr   netip.AddrPort
	Ending sock.Ending // Reset: refused; TimedOut: no answer; Limit; else Failed
	Self   bool        // refused: the connection was one to our own end
	Met    bool        // reset, but by somebody who had accepted
	ICMP   *Refusal    // what the network said; nil if nothing, or if that is not heard
	Heard  bool        // the network was listened to, or had nothing to say: without ICMP the host itself refused, or this machine
	Err    error
}

// Error names the address and the reason.
func (e *Error) Error() string {
	switch {
	case e.Self:
		return fmt.Sprintf("connection refused by %v: nobody listens there; what answered was our own end of the connection", e.Addr)
	case e.Met:
		return fmt.Sprintf("%v accepted the connection and reset it at once (RST)", e.Addr)
	case e.ICMP != nil && e.ICMP.NoNeighbor():
		return e.ICMP.ownWords()
	case e.ICMP != nil && e.ICMP.Local, errors.Is(e.Err, syscall.EPERM):
		return ownFirewall(e.Addr)
	case e.ICMP != nil:
		return fmt.Sprintf("%v cannot be reached: %v", e.Addr, e.ICMP.message())
	case e.Ending == sock.Reset && e.Heard:
		return fmt.Sprintf("connection refused by %v: a host is there, nobody listens on this port", e.Addr)
	case e.Ending == sock.Reset:
		return fmt.Sprintf("connection refused by %v: nobody listens on this port, or a firewall says so", e.Addr)
	case e.Ending == sock.TimedOut:
		return fmt.Sprintf("no answer from %v: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("connect to %v: %v", e.Addr, e.Err)
}

// Unwrap returns the system's error.
func (e *Error) Unwrap() error { return e.Err }

// errSelf is what a connection to oneself is refused with.
var errSelf = errors.New("the connection is to itself")

// DialTCP connects to addr. Its error is a *Error, or the cause of ctx's end.
//
// A port that nobody listens on can become a connection to itself when the system
// gives that very port to our end (RFC 9293 section 3.5, simultaneous open). It is refused.
func (d Dialer) DialTCP(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	conn, err := d.dial(ctx, probe.TCP, addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// DialUDP makes a socket that sends to addr, hears from it alone, and keeps the ICMP
// errors about it. Nothing is sent. Its error is that of DialTCP.
func (d Dialer) DialUDP(ctx context.Context, addr netip.AddrPort) (*net.UDPConn, error) {
	conn, err := d.dial(ctx, probe.UDP, addr)
	if err != nil {
		return nil, err
	}
	udp := conn.(*net.UDPConn)
	_ = sock.WatchErrors(udp) // without it a refusal's sender is unknown, and said to be
	return udp, nil
}

func (d Dialer) dial(ctx context.Context, proto probe.Proto, addr netip.AddrPort) (net.Conn, error) {
	timeout := d.timeout()
	dialer := net.Dialer{Timeout: timeout}
	if d.Source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(d.Source)
		if proto == probe.UDP {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(d.Source)
		}
	}
	var tap sock.Tap
	if proto == probe.TCP {
		dialer.SetMultipathTCP(false) // one path, so that a refusal means what RFC 9293 says
		dialer.Control = tap.Control
	}
	conn, err := dialer.DialContext(ctx, proto.String(), addr.String())
	said, ok := tap.Take()
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		e := dialError(addr, err, timeout)
		if e.Heard = tap.Hears() || proto == probe.UDP; ok {
			e.explain(said)
		}
		return nil, e
	}
	if isSelf(conn) {
		Abandon(conn)
		return nil, &Error{Addr: addr, Ending: sock.Reset, Self: true, Err: errSelf}
	}
	return conn, nil
}

func (d Dialer) timeout() time.Duration {
	if d.Timeout == 0 {
		return DefaultTimeout
	}
	return d.Timeout
}

func dialError(addr netip.AddrPort, err error, timeout time.Duration) *Error {
	// Only what was connected can be reset; a SYN is refused.
	e := &Error{Addr: addr, Ending: sock.EndingOf(err), Met: errors.Is(err, sock.ErrReset), Err: err}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		e.Ending, e.Err = sock.TimedOut, fmt.Errorf("no reply to our SYN within %v", timeout)
		return e
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Err = errno // the rest of the chain repeats the address
	}
	return e
}

// explain puts what the network said in the place of what the system made of it.
func (e *Error) explain(said sock.ICMPError) {
	e.Ending, e.Err = sock.Failed, said.Errno
	e.ICMP = &Refusal{ICMPError: said, to: e.Addr, known: true}
}

// isSelf reports whether both ends of conn are one.
func isSelf(conn net.Conn) bool {
	return conn.LocalAddr().String() == conn.RemoteAddr().String()
}

// Abandon closes a connection, or the one under its TLS, without leaving it in TIME_WAIT, where it would keep the
// port that somebody may want to listen on: a TCP connection that stands ends by a reset.
func Abandon(conn net.Conn) {
	if secured, ok := conn.(*TLSConn); ok {
		conn = secured.NetConn() // a close_notify would wait for a peer that does not read
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
