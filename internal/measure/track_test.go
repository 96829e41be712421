package measure

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A model of what becomes of probes: every one has a fate, and nothing is forgotten.
type model struct {
	fates map[uint64]Fate
	sent  map[uint64]time.Duration
	Counts
}

// Whatever is sent, lost, late, doubled, reordered or damaged, in any order: the tracker counts what the model does, and
// each probe once.
func TestTrackerCountsEachProbeOnce(t *testing.T) {
	const timeout = 100
	rapid.Check(t, func(t *rapid.T) {
		track := newTracker(timeout, 1)
		m := model{fates: map[uint64]Fate{}, sent: map[uint64]time.Duration{}}
		now, high := time.Duration(0), uint64(0)
		lose := func(seq uint64) { m.fates[seq], m.Lost, m.Pending = Lost, m.Lost+1, m.Pending-1 }
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				for range rapid.IntRange(1, 50).Draw(t, "n") {
					seq := track.send(now, now)
					m.sent[seq], m.Probes, m.Pending = now, m.Probes+1, m.Pending+1
				}
			},
			"reply": func(t *rapid.T) {
				if track.next == 0 {
					t.Skip("nothing was sent")
				}
				seq := rapid.Uint64Range(track.oldest(32), track.next-1).Draw(t, "seq")
				var d *Damage
				if rapid.Bool().Draw(t, "damaged") {
					d = &Damage{Kind: Changed, Seq: seq}
				}
				reordered := seq+1 < high
				high = max(high, seq+1)
				before := m.fates[seq]
				want := Answered
				switch {
				case before != inFlight && before != Lost:
					want = Doubled
				case d != nil:
					want = Corrupt
				case now-m.sent[seq] > timeout:
					want = Late
				}
				if fate, _ := track.reply(seq, now, d); fate != want {
					t.Fatalf("a reply to %d, which was %v, is %v, not %v", seq, before, fate, want)
				}
				if want == Doubled {
					m.Doubled++
					return
				}
				if reordered {
					m.Reordered++
				}
				if before == Lost {
					m.Lost--
				} else {
					m.Pending--
				}
				m.fates[seq] = want
				*map[Fate]*uint64{Answered: &m.Answered, Corrupt: &m.Corrupt, Late: &m.Late}[want]++
			},
			"wait": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 150).Draw(t, "time"))
				track.expire(now, func(seq uint64, _ slot) { lose(seq) })
				for seq := range track.next {
					if m.fates[seq] == inFlight && now-m.sent[seq] > timeout {
						t.Fatalf("%d is not given up", seq)
					}
				}
			},
			"unsend": func(*rapid.T) {
				seq := track.send(now, now)
				track.unsend()
				m.sent[seq], m.fates[seq], m.Probes, m.Unsent = now, Unasked, m.Probes+1, m.Unsent+1
			},
			"refuse": func(*rapid.T) { track.refuse(func(seq uint64, _ slot) { lose(seq) }) },
			"break":  func(*rapid.T) { track.abandon(func(seq uint64, _ slot) { lose(seq) }) },
			"": func(t *rapid.T) {
				if track.Counts != m.Counts {
					t.Fatalf("%+v, not %+v", track.Counts, m.Counts)
				}
				c := track.Counts
				if c.Probes != c.Answered+c.Late+c.Lost+c.Corrupt+c.Unsent+c.Pending {
					t.Fatalf("not each once: %+v", c)
				}
			},
		})
	})
}

func TestTrackerPassesOver(t *testing.T) {
	track := newTracker(10, 1)
	track.send(0, 0)
	track.abandon(func(uint64, slot) {})
	track.skip(1000)
	if seq := track.send(1, 1); seq != 1001 {
		t.Errorf("the next probe is %d", seq)
	}
	if fate, _ := track.reply(1001, 2, nil); fate != Answered {
		t.Error(fate)
	}
	if fate, _ := track.reply(5000, 2, nil); fate != Unasked || track.Foreign != 1 {
		t.Errorf("a reply to what was never sent is %v", fate)
	}
}

// RFC 3550 appendix A.8: a constant transit has no jitter, and one that alternates by D tends to D.
func TestJitter(t *testing.T) {
	jitter := func(transits ...time.Duration) float64 {
		track := newTracker(time.Second, 1)
		for _, transit := range transits {
			track.jit(transit)
		}
		return track.jitter
	}
	if j := jitter(5, 5, 5); j != 0 {
		t.Errorf("of equal times: %v", j)
	}
	if j := jitter(16, 32); j != 1 {
		t.Errorf("a sixteenth of the first difference: %v", j)
	}
	var swings []time.Duration
	for i := range 400 {
		swings = append(swings, time.Duration(1000+1000*(i%2)))
	}
	if j := jitter(swings...); j < 999 || j > 1000 {
		t.Errorf("of swings by 1000: %v", j)
	}
}

func TestDistribution(t *testing.T) {
	a, b := NewDistribution(), NewDistribution()
	if a.N() != 0 || a.Percentile(50) != 0 || a.Mean() != 0 || a.Buckets() != nil {
		t.Error("an empty one is not")
	}
	for i := range 1000 {
		d := []*Distribution{a, b}[i%2]
		d.Record(time.Duration(i+1) * time.Millisecond)
	}
	a.Merge(b)
	a.Merge(NewDistribution())
	if a.N() != 1000 || a.Min() != time.Millisecond || a.Max() != time.Second || a.Mean() != 500500*time.Microsecond {
		t.Errorf("%d from %v to %v, mean %v", a.N(), a.Min(), a.Max(), a.Mean())
	}
	for p, want := range map[float64]time.Duration{50: 500 * time.Millisecond, 99: 990 * time.Millisecond, 100: time.Second} {
		if got := a.Percentile(p); got < want*999/1000 || got > want*1001/1000 {
			t.Errorf("p%v is %v, not %v", p, got, want)
		}
	}
	n := uint64(0)
	for _, bucket := range a.Buckets() {
		n += bucket.N
	}
	all := a.Buckets()
	if n != 1000 || all[0].From != time.Millisecond || all[len(all)-1].To != 2*time.Second {
		t.Errorf("%d in %v", n, all)
	}
	if got := fmt.Sprint(all[0], all[2]); got != "{1ms 2ms 1} {5ms 10ms 5}" {
		t.Error(got)
	}
}
