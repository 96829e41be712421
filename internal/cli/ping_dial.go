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

// A pingDial makes the connections of a ping, all to one address.
type pingDial struct {
	*pinger
	dialer dial.Dialer
	tell   sync.Once // whom we talk to under TLS

	addrs []netip.AddrPort // after choose the first of them is the one

	mu     sync.Mutex
	made   *net.TCPConn // when the address was chosen; nil: there is none
	madeIn measure.Phases
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
	if !d.tls {
		return tcp, phases, nil
	}
	return d.secure(ctx, tcp, phases)
}

// dialTCP connects. The first one gets the connection that choose has made.
func (d *pingDial) dialTCP(ctx context.Context) (*net.TCPConn, measure.Phases, error) {
	d.mu.Lock()
	made, phases := d.made, d.madeIn
	d.made = nil
	d.mu.Unlock()
	if made != nil {
		return made, phases, nil
	}
	start := time.Now()
	conn, err := d.dialer.DialTCP(ctx, d.addrs[0])
	return conn, measure.Phases{Connect: time.Since(start)}, err
}

// choose leaves of a name's addresses the first that answers, and tells of those that refuse. It is called before anything is measured.
func (d *pingDial) choose(ctx context.Context) error {
	if len(d.addrs) == 1 || d.udp {
		return nil
	}
	var failed []error
	conn, err := d.dialer.Race(ctx, d.addrs, func(a dial.Attempt) {
		if a.Err == nil {
			d.madeIn.Connect = a.Took
		} else if !errors.Is(a.Err, dial.ErrLost) {
			failed = append(failed, a.Err)
		}
	})
	if err != nil {
		return err
	}
	to := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	d.addrs = []netip.AddrPort{netip.AddrPortFrom(to.Addr().Unmap(), to.Port())}
	for _, err := range failed {
		d.warn("%v; measuring %v", err, d.addrs[0])
	}
	if d.made = conn; d.connect { // a probe makes its own
		d.close()
	}
	return nil
}

// close ends the connection that nobody wanted.
func (d *pingDial) close() {
	if d.made != nil {
		_ = d.made.SetLinger(0)
		_ = d.made.Close()
		d.made = nil
	}
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

func (p *pinger) peer() string { return net.JoinHostPort(p.host, fmt.Sprint(p.port)) }
