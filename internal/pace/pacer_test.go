package pace

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A peer answers some of what it is sent, after a millisecond.
type peer interface{ answers(now time.Duration) bool }

// chancy answers a share of the probes.
type chancy struct {
	random *rand.Rand
	share  float64
}

func (c *chancy) answers(time.Duration) bool { return c.random.Float64() < c.share }

// slow serves so many probes a second, has a queue of ten, and drops what comes when it is full.
type slow struct {
	perSecond float64
	queue     float64
	last      time.Duration
}

func (s *slow) answers(now time.Duration) bool {
	s.queue = max(0, s.queue-s.perSecond*(now-s.last).Seconds())
	s.last = now
	if s.queue > 10 {
		return false
	}
	s.queue++
	return true
}

// paced asks a peer for as long as it is limited, with that attempt number, at most so many times, and returns how
// many were asked, how many answered and how long it took.
func paced(p *Pacer, to peer, attempt uint8, most int, now time.Duration) (asked, answered int, took time.Duration) {
	type answer struct {
		at    time.Duration
		trial uint32
	}
	var under []answer
	r, start := near(), now
	p.Answered(attempt, 0)
	for asked < most && p.Limited() {
		now = p.Reserve(now)
		for len(under) > 0 && under[0].at <= now {
			p.Answered(attempt, under[0].trial)
			under = under[1:]
		}
		trial := p.Sent(now, attempt, r, 0)
		if asked++; to.answers(now) {
			answered++
			under = append(under, answer{now + time.Millisecond, trial})
		}
	}
	return asked, answered, now - start
}

// near is the round-trip time of a host on the same link.
func near() *RTT {
	r := &RTT{}
	r.Observe(100 * time.Microsecond)
	return r
}

// Until a probe is seen to have got lost there is no limit, whatever is answered.
func TestNoLimitWithoutLoss(t *testing.T) {
	var p Pacer
	for range 10000 {
		p.Answered(1, 0)
	}
	if p.Limited() {
		t.Error("answers to first attempts set a limit")
	}
	p.Answered(2, 0)
	if !p.Limited() {
		t.Error("a late answer sets none")
	}
}

// A host that answers the same part of the probes however fast it is asked has no limit again soon.
func TestChanceIsNoLimit(t *testing.T) {
	for _, share := range []float64{0, 0.001, 0.1, 0.5, 0.81, 1} {
		for seed := range uint64(50) {
			var p Pacer
			_, _, took := paced(&p, &chancy{rand.New(rand.NewPCG(seed, 1)), share}, 2, 1<<20, time.Second)
			if p.Limited() || took > 3*time.Second {
				t.Errorf("share %v: limited %v after %v", share, p.Limited(), took)
			}
		}
	}
}

// One that serves so many a second is asked about as many: most probes are answered, and little of its time is wasted.
func TestSlowHostIsKeptPaceWith(t *testing.T) {
	for _, perSecond := range []float64{600, 900, 3000, 10000, 30000} {
		var p Pacer
		to := &slow{perSecond: perSecond}
		most := int(20 * perSecond)
		asked, answered, took := paced(&p, to, 2, most, time.Second)
		if asked != most || !p.Limited() {
			t.Fatalf("%v/s: the limit ended after %d", perSecond, asked)
		}
		if lost := 1 - float64(answered)/float64(asked); lost > 0.2 {
			t.Errorf("%v/s: %.0f %% were lost", perSecond, 100*lost)
		}
		if used := float64(answered) / took.Seconds() / perSecond; used < 0.6 {
			t.Errorf("%v/s: it was asked for %.2f of what it can do", perSecond, used)
		}
		// The next pass, of fewer probes, begins so slowly that hardly any gets lost.
		asked, answered, _ = paced(&p, to, 3, int(perSecond/10), took+2*time.Second)
		if lost := 1 - float64(answered)/float64(asked); lost > 0.02 {
			t.Errorf("%v/s: of the next pass %.1f %% were lost", perSecond, 100*lost)
		}
	}
}

// The limit ends for the pass at hand; a late answer of the next one sets it again.
func TestLimitComesBack(t *testing.T) {
	var p Pacer
	paced(&p, &chancy{rand.New(rand.NewPCG(1, 1)), 1}, 2, 1<<20, time.Second)
	p.Answered(2, 0)
	if p.Limited() {
		t.Error("a pass limits twice")
	}
	p.Answered(3, 0)
	if !p.Limited() {
		t.Error("the next pass does not")
	}
}

// However slow a host is, what waits for it goes within ten seconds.
func TestWhatWaitsGoes(t *testing.T) {
	var p Pacer
	now, waiting := time.Second, 20000
	p.Answered(2, 0)
	to := &slow{perSecond: 100}
	for p.Limited() && waiting > 0 {
		now = p.Reserve(now)
		trial := p.Sent(now, 2, near(), waiting)
		if to.answers(now) {
			p.Answered(2, trial)
		}
		waiting--
	}
	if took := now - time.Second; took > 40*time.Second {
		t.Errorf("20,000 probes took %v", took)
	}
}

// As many have a reservation as a loop with a clock of milliseconds needs.
func TestAhead(t *testing.T) {
	p := Pacer{rate: 1000}
	if got := p.Ahead(); got != 3 {
		t.Errorf("at 1000/s: %d", got)
	}
	p.rate = leastRate
	if got := p.Ahead(); got != 1 {
		t.Errorf("at the least rate: %d", got)
	}
	if a, b := p.Reserve(time.Second), p.Reserve(time.Second); a != time.Second || b != a+20*time.Millisecond {
		t.Errorf("reservations are for %v and %v", a, b)
	}
	if c := p.Reserve(time.Hour); c != time.Hour {
		t.Errorf("after an hour one is for %v", c)
	}
}

func TestPacerAllocatesNothing(t *testing.T) {
	var p Pacer
	r := near()
	p.Answered(2, 0)
	if n := testing.AllocsPerRun(100, func() { p.Answered(2, p.Sent(p.Reserve(1), 2, r, 0)); r.Observe(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
