package scan_test

import (
	"net/netip"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
	"sonde/internal/probe/connect"
	"sonde/internal/probe/udp"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// Whatever the path does to packets, each verdict is right or said to be unproved, and how it is known is told. All
// hosts listen on 2000-2009, refuse 2010-2299 by a reset, and drop what comes for 2300-2309.
func TestMatrix(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	listen := []lab.Listener{{Ports: lab.Range(2000, 2009)}}
	drop := lab.Rule{Ports: lab.Range(2300, 2309), Do: lab.Drop}
	lose := func(percent uint8) lab.Rule { return lab.Rule{Do: lab.Lose, Way: lab.Both, Percent: percent} }
	for name, c := range map[string]struct {
		config  lab.Config
		limited bool // silence is not proof
	}{
		"nothing":                  {lab.Config{}, false},
		"1 % loss":                 {lab.Config{Rules: []lab.Rule{lose(1)}}, false},
		"5 % loss":                 {lab.Config{Rules: []lab.Rule{lose(5)}}, false},
		"10 % loss":                {lab.Config{Rules: []lab.Rule{lose(10)}}, false},
		"delayed answers":          {lab.Config{Delay: 150 * time.Millisecond}, false},
		"doubled answers":          {lab.Config{Double: true}, false},
		"delayed and doubled, 5 %": {lab.Config{Delay: 50 * time.Millisecond, Double: true, Rules: []lab.Rule{lose(5)}}, false},
		// So few that even a scan slowed down by a busy machine asks for many more: near the limit chance decides what the controls show.
		"resets limited to 20/s":      {lab.Config{Rules: []lab.Rule{{Way: lab.Out, Flags: lab.RST, Do: lab.Limit, PerSecond: 20}}}, true},
		"a queue of one, slowly read": {lab.Config{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.Listen, c.config.Rules = listen, append(c.config.Rules, drop)
			if name == "a queue of one, slowly read" {
				c.config.Listen = []lab.Listener{{Ports: lab.Range(2000, 2009), Backlog: 1, Pause: 20 * time.Millisecond}}
			}
			host := net.Host(t, c.config)
			for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
				attempts, recall := uint8(15), 0.999999 // so high that chance has no part in it
				if c.limited {
					attempts, recall = 4, 0
				}
				sink, s := scanFor(t, &connect.Prober{Timeout: 400 * time.Millisecond}, attempts, recall, "2000-2309", addr)
				checkMatrix(t, addr, sink, s, c.limited)
			}
		})
	}
}

func checkMatrix(t *testing.T, addr netip.Addr, sink *found, s scan.Summary, limited bool) {
	t.Helper()
	for port := uint16(2000); port < 2310; port++ {
		got, answered := sink.answers[probe.Target{AddrPort: netip.AddrPortFrom(addr, port)}]
		switch {
		case port < 2010 && (got.State != probe.Open || got.Reason != probe.SynAck):
			t.Errorf("%v port %d is %v (%v), and listens", addr, port, got.State, got.Reason)
		case port >= 2300 && answered:
			t.Errorf("%v port %d is %v (%v), and is dropped", addr, port, got.State, got.Reason)
		case port < 2010 || port >= 2300 || limited && !answered:
		case got.State != probe.Closed || got.Reason != probe.ConnRefused:
			t.Errorf("%v port %d is %v (%v), and refuses", addr, port, got.State, got.Reason)
		}
	}
	if len(sink.answers) != sink.puts {
		t.Errorf("%v: %d answers for %d ports", addr, sink.puts, len(sink.answers))
	}
	for h := range s.EachHost() {
		switch {
		case !limited && (h.Reason != probe.NoResponse || h.Silent.String() != "2300-2309"):
			t.Errorf("%v: silent are %s, as %v", addr, h.Silent, h.Reason)
		case limited && h.Silent.Len() > 10 && h.Reason != probe.RateLimited:
			t.Errorf("%v: the silence of %d ports is told as %v", addr, h.Silent.Len(), h.Reason)
		}
	}
}

// Linux tells one asker of six errors at once and of one a second from then on. What it tells is believed, and of the rest is told that it is not proved.
func TestICMPLimit(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	direct := lab.Config{Listen: []lab.Listener{{Ports: lab.Port(22)}}, Rules: []lab.Rule{{Ports: lab.Port(22), Do: lab.Accept}, {Do: lab.AdminProhibited}}}
	router := net.Host(t, lab.Config{Rules: direct.Rules})
	for name, c := range map[string]struct{ host, router *lab.Host }{
		"by the host": {host: net.Host(t, direct)},
		"by a router": {router.Behind(t, lab.Config{Listen: direct.Listen}), router},
	} {
		t.Run(name, func(t *testing.T) {
			addr := c.host.IPv4
			var from netip.Addr
			if c.router != nil {
				from = c.router.IPv4
			}
			sink, s := scanIn(t, &connect.Prober{Timeout: time.Second}, 4, "1-1000", addr)
			for target, r := range sink.answers {
				want := probe.Result{State: probe.Filtered, Reason: probe.AdminProhibited, From: from}
				if target.Port() == 22 {
					want = probe.Result{State: probe.Open, Reason: probe.SynAck}
				}
				if r.State != want.State || r.Reason != want.Reason || r.From != want.From {
					t.Errorf("%v is %v (%v) from %v", target, r.State, r.Reason, r.From)
				}
			}
			if s.Open != 1 || s.Filtered != 999 || s.Limited != 1 || len(sink.answers) < 7 {
				t.Errorf("%d answers, %+v", len(sink.answers), s)
			}
			for h := range s.EachHost() {
				if h.Reason != probe.RateLimited {
					t.Errorf("the silence of %d ports is told as %v", h.Silent.Len(), h.Reason)
				}
			}
		})
	}
}

// A host with few closed UDP ports, and a firewall beside them, is asked on as slowly as it answers: each port is closed, or said to be unproved.
func TestFewUDPPorts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Rules: []lab.Rule{{Ports: lab.Range(10000, 10199), Do: lab.Drop}}})
	ports, err := target.ParsePorts("22,10000-10199,U:7000-7011", probe.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b target.Builder
	b.Add(host.IPv4, host.IPv4, ports)
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := newPlan(space, 4)
	prober := scan.Mux{probe.TCP: &connect.Prober{Timeout: time.Second}, probe.UDP: &udp.Prober{Timeout: time.Second}}
	s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: prober, Sink: &found{}})
	if err != nil || s.Closed < 1+10 || s.Filtered != 200 {
		t.Errorf("%+v, %v", s, err)
	}
	for h := range s.EachHost() {
		if h.Silent.Count(probe.UDP) > 0 && h.Reason != probe.RateLimited {
			t.Errorf("the silence of UDP ports %v is told as %v", h.Silent, h.Reason)
		}
	}
}
