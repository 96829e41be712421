package connect

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sonde/internal/pace"
	"sonde/internal/probe"
)

// The window doubles where the loop spent most of its time waiting with it full, and never beyond what the machine bears.
func TestWindowDoubles(t *testing.T) {
	l := &loop{window: 256, ceiling: 1000}
	const step = growTime / 4
	now := time.Duration(0)
	pass := func(full ...bool) {
		for _, f := range full {
			l.measure(now, now+step, f)
			now += step
		}
	}
	for _, c := range []struct {
		full [4]bool
		want int
	}{
		{[4]bool{}, 256},
		{[4]bool{true, true}, 256},
		{[4]bool{true, true, true}, 512},
		{[4]bool{}, 512},
		{[4]bool{true, true, true, true}, 1000},
		{[4]bool{true, true, true, true}, 1000},
	} {
		if pass(c.full[:]...); l.window != c.want {
			t.Errorf("after waiting %v: %d, want %d", c.full, l.window, c.want)
		}
	}
}

// Short of descriptors, the window is what is in flight; it grows again as flights end, and no further than before.
func TestShortageShrinksTheWindow(t *testing.T) {
	told := 0
	p := &Prober{Timeout: time.Second, OnShortage: func(error) { told++ }}
	s, err := p.share(func(probe.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{shared: s, window: 256, ceiling: 300, limit: 300, inFlight: 100, flights: make([]flight, 300)}
	to := probeOf(1, 1, 1).Addr()
	for range 2 {
		if !l.wait(to, unix.EMFILE, time.Second) || l.window != 100 || l.ceiling != 100 {
			t.Errorf("the window is %d of %d", l.window, l.ceiling)
		}
	}
	if told != 1 {
		t.Errorf("the shortage was told %d times", told)
	}
	l.ground(0)
	if l.ceiling != 100 {
		t.Errorf("while it is short the ceiling is %d", l.ceiling)
	}
	l.shortSince = 0 // a launch ended it
	for fd := range 99 {
		l.ground(fd)
	}
	if l.ceiling != 199 || l.window != 100 {
		t.Errorf("after 99 flights the window is %d of %d", l.window, l.ceiling)
	}
	// With nothing in flight nothing will end the shortage: it is tried again for a while.
	if !l.wait(to, unix.EMFILE, 2*time.Second) || l.retryAt != 2*time.Second+shortPause || l.window != 1 {
		t.Errorf("with nothing in flight it is tried again at %v, with %d", l.retryAt, l.window)
	}
	if l.wait(to, unix.EMFILE, 2*time.Second+shortLimit) {
		t.Error("the shortage never lasts")
	}
}

// Probes that waited for their host go no faster than the rate, and no sooner than their host may be asked.
func TestReleasesKeepTheRate(t *testing.T) {
	l := &loop{shared: &shared{prober: &Prober{Rate: pace.NewRate(100)}, hosts: newHosts()}}
	var freed []admitted
	for port := range uint16(5) {
		freed = append(freed, admitted{Probe: probeOf(1, port, 1)})
	}
	now := l.now()
	l.free(freed, now)
	for i, r := range l.reserved {
		// A batch of 10 ms, one probe, may be made up for.
		if want := now + time.Duration(max(0, i-1))*10*time.Millisecond; r.at != want || r.Port() != uint16(i) {
			t.Errorf("probe %d goes at %v, want %v", r.Port(), r.at, want)
		}
	}
	l = &loop{shared: &shared{prober: &Prober{}, hosts: newHosts()}}
	l.free([]admitted{{Probe: probeOf(1, 1, 1), at: now + time.Millisecond}}, now)
	l.free([]admitted{{Probe: probeOf(2, 2, 1)}}, now)
	if a, b := l.reserved[0], l.reserved[1]; a.Port() != 2 || a.at != now || b.Port() != 1 || b.at != now+time.Millisecond {
		t.Errorf("reserved %+v", l.reserved)
	}
	l.redeem(now)
	if len(l.waiting) != 1 || len(l.reserved) != 1 || l.idle(now, -1) != time.Millisecond {
		t.Errorf("%d go, %d wait, for %v", len(l.waiting), len(l.reserved), l.idle(now, -1))
	}
}

// While very many probes wait for their hosts no more are taken, and it is asked again soon.
func TestParkedAreBounded(t *testing.T) {
	h := newHosts()
	l := &loop{shared: &shared{prober: &Prober{}, hosts: h}, feed: newFeed(), window: 256}
	if _, wait := l.refill(); l.feed.want != batch || wait >= 0 {
		t.Errorf("at first %d are wanted; wait %v", l.feed.want, wait)
	}
	h.parked = mostParked
	if _, wait := l.refill(); l.feed.want > 0 || wait != growTime {
		t.Errorf("with %d parked %d are wanted; wait %v", h.parked, l.feed.want, wait)
	}
}
