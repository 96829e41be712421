package connect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// mostWorkers is what a goroutine for each connection serves without cost to others.
const mostWorkers = 1024

// probeWithDialer is Probe for systems without an event loop of ours: as many goroutines as
// connections may be in flight, each taking one probe at a time. PerHost bounds them all, as a
// worker cannot put a probe aside.
func (p *Prober) probeWithDialer(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	if p.Interface != "" {
		return errors.New("binding to an interface needs Linux; name the interface's address with --source")
	}
	window, short, err := p.window()
	if err != nil {
		return err
	}
	s, err := p.share(report)
	if err != nil {
		return err
	}
	if short != nil {
		s.tellShortage(short)
	}
	workers := min(window, mostWorkers)
	if p.PerHost > 0 {
		workers = min(workers, p.PerHost)
	}
	var g errgroup.Group
	for range workers {
		g.Go(func() error { return s.work(ctx, due) })
	}
	return g.Wait()
}

func (s *shared) work(ctx context.Context, due probe.Due) error {
	var one [1]probe.Probe
	for {
		if _, ok := due.Next(ctx, one[:]); !ok {
			return ctx.Err()
		}
		a, _ := s.hosts.admit(one[0], 0) // hosts are not paced here: it always may go
		r := s.dial(ctx, a)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.hosts.end(a, ending{rtt: r.RTT}, 0, nil)
		s.tell(r)
	}
}

// dial makes one connection, waiting while this machine is short of something for it.
func (s *shared) dial(ctx context.Context, p admitted) probe.Result {
	for short := time.Now(); ; {
		start := time.Now()
		conn, err := s.netDialer(p).DialContext(ctx, "tcp", p.String())
		r := probe.Result{Target: p.Target, Method: probe.Connect, Attempt: p.Attempt, Control: p.Control, Time: time.Now()}
		switch {
		case err == nil:
			r.State, r.Reason = probe.Open, probe.SynAck
			if conn.LocalAddr().String() == conn.RemoteAddr().String() {
				r.State, r.Reason = probe.Closed, probe.ConnRefused
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		case errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err):
			r.State, r.Reason = probe.Filtered, probe.NoResponse
			return r
		case sock.IsLimit(err) && time.Since(short) < shortLimit:
			s.tellShortage(err)
			time.Sleep(shortPause)
			continue
		case errors.Is(err, sock.ErrNetUnreach): // without an error queue: far more often no route of ours than a router's word
			r.Err = fmt.Errorf("connect: %w", err)
			return r
		default:
			var ok bool
			if r.State, r.Reason, ok = verdict(err); !ok {
				r.Err = fmt.Errorf("connect: %w", err)
				return r
			}
		}
		if rtt := r.Time.Sub(start); rtt < kernelRetry {
			r.RTT = max(rtt, 1)
		}
		return r
	}
}

func (s *shared) netDialer(p admitted) *net.Dialer {
	d := &net.Dialer{Timeout: s.hosts.timeout(&p, s.prober.Timeout), KeepAlive: -1}
	source := s.prober.Source4
	if p.Addr().Is6() {
		source = s.prober.Source6
	}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
