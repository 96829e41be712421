package connect

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

func TestMain(m *testing.M) {
	lab.Main()
	goleak.VerifyTestMain(m)
}

// list hands out its probes, once each.
type list struct {
	mu     sync.Mutex
	probes []probe.Probe
}

func (l *list) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := copy(buf, l.probes)
	l.probes = l.probes[n:]
	return n, n > 0 && ctx.Err() == nil
}

func probesOf(addr string, ports ...uint16) *list {
	l := &list{}
	for _, p := range ports {
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), p)
		l.probes = append(l.probes, probe.Probe{Target: probe.Target{AddrPort: to}, Attempt: 1})
	}
	return l
}

// listener returns the port of a TCP listener on loopback, and one on which nobody listens.
func listener(t *testing.T) (open, closed uint16) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	gone, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), uint16(gone.Addr().(*net.TCPAddr).Port)
}

// Both ways of connecting come to the same verdicts: the one that other systems use is tested here too.
func TestEitherWay(t *testing.T) {
	for name, way := range map[string]func(*Prober, context.Context, probe.Due, func(probe.Result)) error{
		"event loop": (*Prober).Probe,
		"net.Dialer": (*Prober).probeWithDialer,
	} {
		t.Run(name, func(t *testing.T) {
			open, closed := listener(t)
			got := map[uint16]probe.Result{}
			p := &Prober{Timeout: 5 * time.Second, PerHost: 2, Source4: netip.MustParseAddr("127.0.0.1")}
			err := way(p, t.Context(), probesOf("127.0.0.1", open, closed), func(r probe.Result) { got[r.Target.Port()] = r })
			if err != nil {
				t.Fatal(err)
			}
			if r := got[open]; r.State != probe.Open || r.Reason != probe.SynAck || r.RTT <= 0 {
				t.Errorf("the open port is %+v", r)
			}
			if r := got[closed]; r.State != probe.Closed || r.Reason != probe.ConnRefused || r.RTT <= 0 {
				t.Errorf("the closed port is %+v", r)
			}
			if len(got) != 2 {
				t.Errorf("%d results", len(got))
			}
		})
	}
}

// A probe that this machine cannot send is given back, with the reason.
func TestEitherWayGivesBack(t *testing.T) {
	for name, way := range map[string]func(*Prober, context.Context, probe.Due, func(probe.Result)) error{
		"event loop": (*Prober).Probe,
		"net.Dialer": (*Prober).probeWithDialer,
	} {
		t.Run(name, func(t *testing.T) {
			var got []probe.Result
			p := &Prober{Timeout: 5 * time.Second}
			// A broadcast address is none that TCP connects to.
			err := way(p, t.Context(), probesOf("255.255.255.255", 80), func(r probe.Result) { got = append(got, r) })
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].State != probe.Unsent || got[0].Err == nil {
				t.Errorf("results %+v", got)
			}
		})
	}
}

func TestEitherWayEndsWithItsContext(t *testing.T) {
	for name, way := range map[string]func(*Prober, context.Context, probe.Due, func(probe.Result)) error{
		"event loop": (*Prober).Probe,
		"net.Dialer": (*Prober).probeWithDialer,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := way(&Prober{Timeout: time.Hour}, ctx, probesOf("127.0.0.1", 1, 2, 3), func(probe.Result) {})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func TestDialerRefusesInterfaces(t *testing.T) {
	p := &Prober{Timeout: time.Second, Interface: "lo"}
	if err := p.probeWithDialer(t.Context(), probesOf("127.0.0.1", 1), func(probe.Result) {}); err == nil {
		t.Error("an interface was silently ignored")
	}
}

// Two probes of ours that met are both asked again; a real listener is believed.
func TestMetOurselves(t *testing.T) {
	p := &Prober{Timeout: time.Second}
	s, err := p.share(func(probe.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	a, b := netip.MustParseAddrPort("127.0.0.1:40001"), netip.MustParseAddrPort("127.0.0.1:40002")
	s.countOwn(a, 1)
	s.countOwn(b, 1)
	if !s.metOurselves(a, b) {
		t.Error("a connection from a port that is being probed was believed")
	}
	s.countOwn(a, -1)
	if !s.metOurselves(b, netip.AddrPort{}) {
		t.Error("the other end of it, reset by us, was believed")
	}
	s.countOwn(b, -1)
	s.countOwn(a, 1)
	if s.metOurselves(a, netip.MustParseAddrPort("127.0.0.1:50000")) {
		t.Error("a listener was not believed")
	}
	if remote := netip.MustParseAddrPort("192.0.2.9:80"); s.metOurselves(remote, a) {
		t.Error("a host elsewhere cannot be met so")
	}
}
