package stateless

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sonde/internal/pace"
	"sonde/internal/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeWire is a network in memory: a probe is answered after a time, or gets lost on the way.
type fakeWire struct {
	delay   time.Duration
	takes   time.Duration                // how long it takes to send a batch
	answers func(p probe.Probe) bool     // does anybody answer
	arrives func(perSecond float64) bool // does a probe that is sent at that rate come through; nil: it does
	room    func(perSecond float64) bool // is there room for its answer here; nil: there is
	fails   error                        // of the next Send

	mu     sync.Mutex
	coming []coming
	sent   time.Time
	began  time.Time // of the second that is counted
	count  int
	rate   float64 // in the last tenth of a second
	heard  time.Time
	lost   uint64
	probes []probe.Probe
	times  []time.Time
	more   chan struct{}
}

// An answer on its way.
type coming struct {
	at time.Time
	r  probe.Result
}

func newWire() *fakeWire {
	return &fakeWire{delay: 10 * time.Millisecond, more: make(chan struct{}, 1)}
}

func (w *fakeWire) Send(_ context.Context, probes []probe.Probe, _ func(probe.Result)) error {
	time.Sleep(w.takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.measure(now, len(probes))
	for _, p := range probes {
		w.probes, w.times = append(w.probes, p), append(w.times, now)
		switch {
		case !w.answers(p) || w.arrives != nil && !w.arrives(w.rate):
		case w.room != nil && !w.room(w.rate):
			w.lost++
		default:
			w.coming = append(w.coming, coming{now.Add(w.delay), probe.Result{Target: p.Target, State: probe.Open, Reason: probe.SynAck, Attempt: p.Attempt % attempts}})
		}
	}
	w.sent = now
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.fails
}

// measure keeps the rate of the last tenth of a second.
func (w *fakeWire) measure(now time.Time, n int) {
	if passed := now.Sub(w.began); passed > 100*time.Millisecond {
		w.rate = float64(w.count) / passed.Seconds()
		w.began, w.count = now, 0
	}
	w.count += n
}

func (w *fakeWire) Receive(ctx context.Context, report func(probe.Result)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		w.mu.Lock()
		now := time.Now()
		var due []probe.Result
		for len(w.coming) > 0 && !w.coming[0].at.After(now) {
			due = append(due, w.coming[0].r)
			w.coming = w.coming[1:]
		}
		w.mu.Unlock()
		for _, r := range due {
			report(r)
		}
		w.mu.Lock()
		w.heard = now
		w.mu.Unlock()
	}
}

func (w *fakeWire) State() (sent, heard time.Time, lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent, w.heard, w.lost
}

// A fakeDue asks for every port so many times, and gives those up that answered. Each pass is over when the prober has settled.
type fakeDue struct {
	prober   *Prober
	rate     *pace.Rate
	ports    int
	attempts uint8
	timeout  time.Duration

	mu       sync.Mutex
	answered map[uint16]uint8
	attempt  uint8
	next     int
	handed   uint64
	passes   []time.Time
}

func (d *fakeDue) Next(ctx context.Context, buf []probe.Probe) (n int, ok bool) {
	for n == 0 {
		if ctx.Err() != nil {
			return 0, false
		}
		if d.next == 0 || d.next > d.ports {
			for d.handed > 0 && !d.prober.Settled(d.handed, d.timeout) && ctx.Err() == nil {
				time.Sleep(5 * time.Millisecond)
			}
			if d.attempt == d.attempts {
				return 0, false
			}
			d.attempt, d.next = d.attempt+1, 1
			d.passes = append(d.passes, time.Now())
		}
		n = d.fill(buf[:d.rate.Take(ctx, len(buf))])
	}
	return n, true
}

func (d *fakeDue) fill(buf []probe.Probe) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; n < len(buf) && d.next <= d.ports; d.next++ {
		if d.answered[uint16(d.next)] == 0 {
			buf[n] = probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(d.next))}, Attempt: d.attempt}
			n++
		}
	}
	d.handed += uint64(n)
	return n
}

// scan runs a prober to its end and returns on which attempt each port was first heard.
func scan(t *testing.T, w *fakeWire, d *fakeDue, limit float64) error {
	t.Helper()
	d.rate = pace.NewRate(unlimited)
	if limit > 0 {
		d.rate = pace.NewRate(limit)
	}
	d.answered = map[uint16]uint8{}
	d.prober = &Prober{Wire: w, Rate: d.rate, Limit: limit}
	return d.prober.Probe(t.Context(), d, func(r probe.Result) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.answered[r.Target.Port()] == 0 {
			d.answered[r.Target.Port()] = r.Attempt
		}
	})
}

// Late answers are told by their own attempt, and a pass is over when its last answer has had its time.
func TestPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.delay, w.takes = 150*time.Millisecond, 20*time.Millisecond
		w.answers = func(p probe.Probe) bool { return int(p.Port()) <= 50*int(p.Attempt) }
		d := &fakeDue{ports: 1000, attempts: 12, timeout: 100 * time.Millisecond}
		if err := scan(t, w, d, 0); err != nil {
			t.Fatal(err)
		}
		for port := 1; port <= 1000; port++ {
			want := uint8((port + 49) / 50)
			if want > 12 {
				want = 0
			}
			if got := d.answered[uint16(port)]; got != want && (want != 12 || got != 0) { // the last pass is not waited for so long
				t.Fatalf("port %d: heard on attempt %d, want %d", port, got, want)
			}
		}
		for i := 1; i < len(d.passes); i++ {
			last := d.passes[i-1]
			for k, p := range w.probes {
				if int(p.Attempt) == i {
					last = w.times[k]
				}
			}
			if wait := d.passes[i].Sub(last); wait < d.timeout {
				t.Errorf("pass %d began %v after the last probe of the one before", i+1, wait)
			}
		}
	})
}

// What fails the wire ends the scan, and so does the end of its context.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.answers = func(probe.Probe) bool { return true }
		w.fails = errors.New("the cable is cut")
		if err := scan(t, w, &fakeDue{ports: 100, attempts: 1, timeout: time.Second}, 0); !errors.Is(err, w.fails) {
			t.Errorf("it ended with %v, want %v", err, w.fails)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		w = newWire()
		w.answers = func(probe.Probe) bool { return false }
		p := &Prober{Wire: w}
		d := &fakeDue{prober: p, ports: 60000, attempts: 9, timeout: time.Second, rate: pace.NewRate(1000)}
		if err := p.Probe(ctx, d, func(probe.Result) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted, it ended with %v", err)
		}
	})
}

// reached is how fast the wire was sent to over the second half of the scan.
func (w *fakeWire) reached() float64 {
	half := len(w.times) / 2
	return float64(len(w.times)-half) / w.times[len(w.times)-1].Sub(w.times[half]).Seconds()
}

// Answers that find no room here make it slower until they do.
func TestOwnLossLowersTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.answers = func(probe.Probe) bool { return true }
		w.room = func(perSecond float64) bool { return perSecond < 5000 }
		d := &fakeDue{ports: 60000, attempts: 1, timeout: time.Second}
		if err := scan(t, w, d, 20000); err != nil {
			t.Fatal(err)
		}
		if r := w.reached(); r > 7000 || r < 2500 {
			t.Errorf("it went on at %.0f probes/s where there is room for 5,000", r)
		}
	})
}

// A path that loses what is beyond its capacity is asked more slowly; one that loses by chance is not.
func TestLossOnTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		arrives func(float64) bool
		slower  bool
	}{
		"a full queue": {func(perSecond float64) bool { return perSecond < 8000 || rand.Float64() < 8000/perSecond }, true},
		"chance":       {func(float64) bool { return rand.Float64() > 0.1 }, false},
		"none":         {func(float64) bool { return true }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire()
			w.answers = func(p probe.Probe) bool { return p.Port()%2 == 0 }
			w.arrives = c.arrives
			d := &fakeDue{ports: 60000, attempts: 6, timeout: 200 * time.Millisecond}
			if err := scan(t, w, d, 20000); err != nil {
				t.Fatal(err)
			}
			var last []time.Time
			for k, p := range w.probes {
				if p.Attempt == 6 {
					last = append(last, w.times[k])
				}
			}
			rate := float64(len(last)) / last[len(last)-1].Sub(last[0]).Seconds()
			if slower := rate < 15000; slower != c.slower {
				t.Errorf("%s: the last pass went at %.0f probes/s of 20,000", name, rate)
			}
		})
	}
}
