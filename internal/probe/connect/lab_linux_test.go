package connect

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// scan asks the ports from first to last of a host, and those that are silent again, up to so many times. It
// returns the answers.
func scan(t *testing.T, p *Prober, addr netip.Addr, first, last uint16, attempts uint8) map[uint16]probe.Result {
	t.Helper()
	answers := map[uint16]probe.Result{}
	for attempt := uint8(1); attempt <= attempts; attempt++ {
		due := &list{}
		for port := first; port <= last; port++ {
			if _, ok := answers[port]; !ok {
				due.probes = append(due.probes, probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(addr, port)}, Attempt: attempt})
			}
		}
		rand.Shuffle(len(due.probes), func(i, j int) { due.probes[i], due.probes[j] = due.probes[j], due.probes[i] })
		asked, reported := len(due.probes), 0
		err := p.Probe(t.Context(), due, func(r probe.Result) {
			reported++
			if r.Attempt != attempt {
				t.Errorf("a result of attempt %d in round %d", r.Attempt, attempt)
			}
			if !r.Reason.Silent() {
				answers[r.Target.Port()] = r
			}
		})
		if err != nil || reported != asked {
			t.Fatalf("%d results of %d probes, %v", reported, asked, err)
		}
	}
	return answers
}

// A service that is slower than a scan, behind every port: its queue is short, and the kernel drops the SYNs of more. All
// its ports are found open, since it is asked more slowly once its losses come to light.
func TestSlowService(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Listen: []lab.Listener{{Backlog: 10, Pause: time.Millisecond}}})
	p := &Prober{Timeout: time.Second}
	answers := scan(t, p, host.IPv4, 10000, 11999, 4)
	open := 0
	for _, r := range answers {
		if r.State == probe.Open {
			open++
		}
	}
	if open != 2000 {
		t.Errorf("%d of 2000 ports are open", open)
	}
	if !p.known.byAddr[host.IPv4].pacer.Limited() {
		t.Error("nothing got lost: the test shows nothing")
	}
}

// Packets get lost at random, and every port answers in the end.
func TestLossAtRandom(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(2000, 2009)}},
		Rules:  []lab.Rule{{Way: lab.Both, Do: lab.Lose, Percent: 4}},
	})
	p := &Prober{Timeout: time.Second}
	answers := scan(t, p, host.IPv4, 1001, 4000, 7)
	if len(answers) != 3000 {
		t.Errorf("%d of 3000 answered", len(answers))
	}
	for port, r := range answers {
		if open := port >= 2000 && port < 2010; open != (r.State == probe.Open) || r.RTT <= 0 {
			t.Errorf("port %d is %v, after %v", port, r.State, r.RTT)
		}
	}
}

// A host that answered once is waited for as long as that took, not for the whole timeout: else this test would take hours.
// What was learned serves the next call.
func TestKnownHostIsNotWaitedForLong(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Rules: []lab.Rule{{Ports: lab.Range(2000, 2099), Do: lab.Drop}}})
	for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
		p := &Prober{Timeout: 3 * time.Hour}
		if answers := scan(t, p, addr, 1990, 2099, 2); len(answers) != 10 {
			t.Errorf("%v: %d answers", addr, len(answers))
		}
		if answers := scan(t, p, addr, 2000, 2001, 1); len(answers) != 0 {
			t.Errorf("%v: silent ports answered: %v", addr, answers)
		}
	}
}

// An answer that takes its time is waited for: the host's own, not that of its neighbours.
func TestFarHost(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Range(100, 149)}}, Delay: 250 * time.Millisecond})
	p := &Prober{Timeout: 5 * time.Second}
	answers := scan(t, p, host.IPv4, 1, 200, 1)
	if len(answers) != 200 {
		t.Errorf("%d of 200 answered", len(answers))
	}
	for port, r := range answers {
		if r.RTT < 250*time.Millisecond {
			t.Errorf("port %d answered after %v, sooner than it can", port, r.RTT)
		}
	}
}

// Nobody on the link has the address: silence, with its cause.
func TestNoNeighbor(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{})
	quick(t, "/proc/sys/net/ipv4/neigh/*/retrans_time_ms", "50")
	quick(t, "/proc/sys/net/ipv6/neigh/*/retrans_time_ms", "50")
	for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
		absent := addr.AsSlice()
		absent[len(absent)-1] ^= 0x55
		to, _ := netip.AddrFromSlice(absent)
		due := &list{probes: []probe.Probe{{Target: probe.Target{AddrPort: netip.AddrPortFrom(to, 80)}, Attempt: 1, Control: true}}}
		var got []probe.Result
		if err := (&Prober{Timeout: time.Minute}).Probe(t.Context(), due, func(r probe.Result) { got = append(got, r) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].State != probe.Filtered || got[0].Reason != probe.NoNeighbor || !got[0].Control || got[0].RTT != 0 {
			t.Errorf("%v: %+v", to, got)
		}
	}
}

// quick writes a value to all files of a pattern.
func quick(t *testing.T, pattern, value string) {
	t.Helper()
	files, _ := filepath.Glob(pattern)
	for _, f := range files {
		if err := os.WriteFile(f, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A host that takes for ever, and may have two connections, holds nobody back; what waits for it is given back in the end.
func TestSlowHostHoldsNobodyBack(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	silent := net.Host(t, lab.Config{Rules: []lab.Rule{{Do: lab.Drop}}})
	quick := net.Host(t, lab.Config{})
	const each = 3000 // more than fit in the windows at the start
	due := &list{}
	for port := uint16(1); port <= each; port++ {
		for _, addr := range []netip.Addr{silent.IPv4, silent.IPv4, quick.IPv4} {
			due.probes = append(due.probes, probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(addr, port)}, Attempt: 1})
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	closed, unsent := 0, 0
	err := (&Prober{Timeout: time.Hour, PerHost: 2}).Probe(ctx, due, func(r probe.Result) {
		switch r.State {
		case probe.Closed:
			if closed++; closed == each {
				cancel()
			}
		case probe.Unsent:
			unsent++
		}
	})
	if !errors.Is(err, context.Canceled) || closed != each {
		t.Errorf("%d of %d ports of the quick host were asked; %v", closed, each, err)
	}
	if left := len(due.probes); unsent+left != 2*each-2 {
		t.Errorf("%d were given back, %d not taken, of %d", unsent, left, 2*each-2)
	}
}
