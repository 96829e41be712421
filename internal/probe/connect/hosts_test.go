package connect

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonde/internal/probe"
)

// addr is the address of a host by number.
func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}) }

func probeOf(host int, port uint16, attempt uint8) probe.Probe {
	return probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(addr(host), port)}, Attempt: attempt}
}

func TestPerHost(t *testing.T) {
	h := newHosts()
	h.perHost = 2
	var flying []admitted
	for port, want := range map[uint16]bool{1: true, 2: true} {
		a, ok := h.admit(probeOf(1, port, 1), 1)
		if ok != want {
			t.Errorf("port %d: admitted %v", port, ok)
		}
		flying = append(flying, a)
	}
	for port := uint16(3); port <= 5; port++ {
		if _, ok := h.admit(probeOf(1, port, 1), 1); ok {
			t.Errorf("port %d is one too many", port)
		}
	}
	if _, ok := h.admit(probeOf(2, 1, 1), 1); !ok {
		t.Error("another host has to wait")
	}
	for i, a := range flying {
		freed := h.end(a, ending{}, 1, nil)
		if len(freed) != 1 || freed[0].Port() != uint16(3+i) {
			t.Errorf("the end of one makes way for %v", freed)
		}
	}
	if rest := h.rest(); len(rest) != 1 || rest[0].Port() != 5 || h.parked != 1 {
		t.Errorf("what waits: %v, %d", rest, h.parked)
	}
}

// limit has a loss of a host come to light, at now.
func limit(h *hosts, host int, now time.Duration) {
	a, _ := h.admit(probeOf(host, 1, 2), now)
	h.end(a, ending{answered: true, rtt: time.Millisecond}, now, nil)
}

// A host that lost a probe is asked again a thousand times a second at first: two have their time, the others wait.
func TestLossPacesAHost(t *testing.T) {
	h := newHosts()
	const now = time.Second
	limit(h, 1, now)
	var going []admitted
	for port := range uint16(30) {
		if a, ok := h.admit(probeOf(1, port, 2), now); ok {
			going = append(going, a)
		}
	}
	if len(going) != 3 || h.parked != 27 {
		t.Fatalf("%d go, %d wait; want 3 and 27", len(going), h.parked)
	}
	for i, a := range going {
		if want := now + time.Duration(i)*time.Millisecond; a.at != want || !a.reserved {
			t.Errorf("probe %d goes at %v, want %v", i, a.at, want)
		}
	}
	if a, ok := h.admit(probeOf(2, 1, 2), now); !ok || a.at != 0 || a.reserved {
		t.Errorf("another host has to wait: %+v", a)
	}
	freed := h.sent(&going[0], now, nil)
	if len(freed) != 1 || freed[0].Port() != 3 || freed[0].at != now+3*time.Millisecond || going[0].trial == 0 {
		t.Errorf("one that left makes way for %+v", freed)
	}
	if freed = h.end(going[0], ending{answered: true}, now, nil); len(freed) != 0 {
		t.Errorf("its end makes way for another: %+v", freed)
	}
}

// A control was refused before: that it is answered on a late attempt is no sign of loss.
func TestControlsSayNothingOfLoss(t *testing.T) {
	h := newHosts()
	p := probeOf(1, 1, 2)
	p.Control = true
	a, _ := h.admit(p, 1)
	h.end(a, ending{answered: true}, 1, nil)
	if h.host(addr(1)).pacer.Limited() {
		t.Error("a control set a limit")
	}
	limit(h, 1, 1)
	if !h.host(addr(1)).pacer.Limited() {
		t.Error("a loss set none")
	}
}

func TestLook(t *testing.T) {
	const ceiling = time.Second
	h := newHosts()
	first, _ := h.admit(probeOf(1, 1, 1), 1)
	retry, _ := h.admit(probeOf(1, 2, 2), 1)
	expect := func(a *admitted, age time.Duration, expired bool, next time.Duration) {
		t.Helper()
		gone, then := h.look(a, age, ceiling)
		if gone != expired || !gone && then != next {
			t.Errorf("attempt %d at %v: expired %v, next look at %v; want %v, %v", a.Attempt, age, gone, then, expired, next)
		}
	}
	// Of a host that is not known it is asked now and then whether it is by now.
	expect(&first, 0, false, 100*time.Millisecond)
	expect(&first, 100*time.Millisecond, false, 200*time.Millisecond)
	expect(&first, 700*time.Millisecond, false, ceiling)
	expect(&first, ceiling, true, 0)
	learn := func(rtt time.Duration) {
		a, _ := h.admit(probeOf(1, 3, 1), 1)
		h.end(a, ending{answered: true, rtt: rtt}, 1, nil)
	}
	learn(time.Millisecond)
	expect(&first, 0, false, 100*time.Millisecond)
	expect(&first, 100*time.Millisecond, true, 0)
	expect(&retry, 100*time.Millisecond, false, 500*time.Millisecond)
	expect(&retry, 500*time.Millisecond, true, 0)
	if _, next := h.look(&retry, 0, 50*time.Millisecond); next != 50*time.Millisecond {
		t.Errorf("beyond the ceiling: %v", next)
	}
	for range 200 {
		learn(200 * time.Millisecond)
	}
	if _, next := h.look(&retry, 0, time.Hour); next.Round(10*time.Millisecond) != 800*time.Millisecond {
		t.Errorf("a retry to a host that answers after 200 ms is given %v", next)
	}
}

// Whatever comes in whatever order, no probe is lost or doubled, and none waits without somebody to release it.
func TestHostsLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHosts()
		h.perHost = rapid.IntRange(0, 3).Draw(t, "per host")
		var flying []admitted
		went, now := map[netip.AddrPort]int{}, time.Second
		fly := func(as ...admitted) {
			for _, a := range as {
				went[a.AddrPort]++
				flying = append(flying, a)
			}
		}
		step := func(k int, answered bool) {
			now += time.Millisecond
			a := &flying[k]
			if a.reserved {
				fly(h.sent(a, now, nil)...)
				return
			}
			over := *a
			flying = append(flying[:k], flying[k+1:]...)
			fly(h.end(over, ending{answered: answered}, now, nil)...)
		}
		probes := rapid.IntRange(0, 200).Draw(t, "probes")
		for port := 0; port < probes; {
			if len(flying) > 0 && rapid.Bool().Draw(t, "step") {
				step(rapid.IntRange(0, len(flying)-1).Draw(t, "which"), rapid.Bool().Draw(t, "answered"))
				continue
			}
			p := probeOf(rapid.IntRange(0, 2).Draw(t, "host"), uint16(port), uint8(1+port/50))
			if a, ok := h.admit(p, now); ok {
				fly(a)
			}
			port++
		}
		for len(flying) > 0 {
			step(0, false)
		}
		if h.parked != 0 || len(h.rest()) != 0 || len(went) != probes {
			t.Fatalf("%d of %d went, %d wait", len(went), probes, h.parked)
		}
		for to, n := range went {
			if n != 1 {
				t.Fatalf("%v went %d times", to, n)
			}
		}
		for a, h := range h.byAddr {
			if h.inFlight != 0 || h.reserved != 0 {
				t.Fatalf("%v has %d in flight, %d reserved, when all is over", a, h.inFlight, h.reserved)
			}
		}
	})
}

// What is known of hosts is bounded; those with connections in flight are not forgotten.
func TestHostsAreForgotten(t *testing.T) {
	h := newHosts()
	kept, _ := h.admit(probeOf(0, 1, 1), 1)
	for n := 1; n < mostHosts+100; n++ {
		a, _ := h.admit(probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1)}}, 1)
		h.end(a, ending{}, 1, nil)
	}
	if len(h.byAddr) > mostHosts {
		t.Errorf("%d hosts are remembered", len(h.byAddr))
	}
	if h.host(addr(0)) != kept.host {
		t.Error("a host with a connection in flight was forgotten")
	}
}

func TestHostsAllocateNothing(t *testing.T) {
	h := newHosts()
	p := probeOf(1, 1, 1)
	if n := testing.AllocsPerRun(100, func() {
		a, _ := h.admit(p, 1)
		h.look(&a, 0, time.Second)
		h.end(a, ending{answered: true, rtt: time.Millisecond}, 1, nil)
	}); n != 0 {
		t.Errorf("%v allocations a probe", n)
	}
}
