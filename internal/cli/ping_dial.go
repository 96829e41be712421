package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"sonde/internal/cert"
	"sonde/internal/dial"
	"sonde/internal/measure"
)

// A pingDial makes the connections of a ping, all to one address: of a name's the first that answers.
type pingDial struct {
	*pinger
	dialer dial.Dialer
	tell   sync.Once // whom we talk to under TLS

	mu    sync.Mutex
	addrs []netip.AddrPort // one, when it is chosen
}

func (p *pinger) newDial(addrs []netip.Addr) *pingDial {
	d := &pingDial{pinger: p, dialer: dial.Dialer{Timeout: dial.DefaultTimeout}}
	if p.connect || p.changed("timeout") {
		d.dialer.Timeout = p.timeout
	}
	for _, addr := range addrs {
		d.addrs = append(d.addrs, netip.AddrPortFrom(addr, p.port))
	}
	return d
}

// dial is the measure.Dial.
func (d *pingDial) dial(ctx context.Context) (net.Conn, measure.Phases, error) {
	if d.udp {
		conn, err := d.dialer.DialUDP(ctx, d.addrs[0])
		if err != nil { // not a nil pointer that looks like a connection
			return nil, measure.Phases{}, err
		}
		return conn, measure.Phases{}, nil
	}
	tcp, phases, err := d.dialTCP(ctx)
	if err != nil {
		return nil, phases, err
	}
	if d.connect || d.search != "" {
		_ = tcp.SetLinger(0) // many are made and ended: without it each would stay in TIME_WAIT
	}
	if !d.tls {
		return tcp, phases, nil
	}
	return d.secure(ctx, tcp, phases)
}

// dialTCP connects. Who comes while the address is being chosen waits.
func (d *pingDial) dialTCP(ctx context.Context) (*net.TCPConn, measure.Phases, error) {
	d.mu.Lock()
	if len(d.addrs) > 1 {
		defer d.mu.Unlock()
		return d.choose(ctx)
	}
	d.mu.Unlock()
	start := time.Now()
	conn, err := d.dialer.DialTCP(ctx, d.addrs[0])
	return conn, measure.Phases{Connect: time.Since(start)}, err
}

// choose connects to the first address that answers, and tells of those that refuse.
func (d *pingDial) choose(ctx context.Context) (*net.TCPConn, measure.Phases, error) {
	var phases measure.Phases
	var failed []error
	conn, err := d.dialer.Race(ctx, d.addrs, func(a dial.Attempt) {
		if a.Err == nil {
			phases.Connect = a.Took
		} else if !errors.Is(a.Err, dial.ErrLost) {
			failed = append(failed, a.Err)
		}
	})
	if err != nil {
		return nil, phases, err
	}
	to := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	d.addrs = []netip.AddrPort{netip.AddrPortFrom(to.Addr().Unmap(), to.Port())}
	for _, err := range failed {
		d.warn("%v; measuring %v", err, d.addrs[0])
	}
	return conn, phases, nil
}

func (d *pingDial) secure(ctx context.Context, tcp *net.TCPConn, phases measure.Phases) (net.Conn, measure.Phases, error) {
	start := time.Now()
	conn, err := d.dialer.StartTLS(ctx, tcp, d.peer(), d.trust)
	if err != nil {
		return nil, phases, err
	}
	phases.TLS = time.Since(start)
	d.tell.Do(func() {
		state := conn.ConnectionState()
		if d.verbose {
			for _, line := range cert.Describe(state) {
				d.note("tls: %s", line)
			}
		}
		if d.insecure {
			d.warn("--insecure: nobody has checked who is at the other end; its certificate is %s", cert.Fingerprint(state.PeerCertificates[0]))
		}
	})
	return conn, phases, nil
}

// pingFailure is what is told of a measurement that could not be made.
func (p *pinger) pingFailure(err error) error {
	var (
		refused  *dial.Error
		secured  *dial.TLSError
		stranger *measure.StrangerError
		hangup   *measure.HangupError
	)
	t := &talker{app: p.app, udp: p.udp}
	switch {
	case errors.Is(err, errInterrupted):
		return exitWith(exitInterrupted)
	case errors.As(err, &refused):
		return t.dialFailure(refused)
	case errors.As(err, &secured):
		return t.tlsFailure(secured)
	case errors.As(err, &stranger):
		return failure(fmt.Errorf("%s is no echo server: %w", p.peer(), err), p.otherwise())
	case errors.As(err, &hangup):
		return failure(fmt.Errorf("%s does not echo: %w", p.peer(), err), p.otherwise())
	}
	return failure(err)
}

func (p *pinger) peer() string { return net.JoinHostPort(p.host, fmt.Sprint(p.port)) }

// otherwise is what to do where no echo server is.
func (p *pinger) otherwise() string {
	if p.udp {
		return fmt.Sprintf("ask it as what it is: sonde talk --udp %s %d", p.host, p.port)
	}
	return fmt.Sprintf("measure the connection alone: sonde ping --connect %s %d", p.host, p.port)
}
