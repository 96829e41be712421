package loss_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/loss"
)

const many = 60_000 // silent targets

func of(passes int, paths ...loss.Path) loss.Estimate { return loss.Of(passes, slices.Values(paths)) }

// TestByHand holds what can be worked out on paper.
func TestByHand(t *testing.T) {
	for _, test := range []struct {
		name           string
		passes         int
		path           loss.Path
		loss, expected float64
		bound, within  float64
	}{
		// (1+p)^6 = 20, and 6·p²/(1-p²) of it.
		{"six on pass 1, none on pass 2", 2, loss.Path{Heard: []uint64{6, 0}, Open: 6, Silent: many}, 0, 0, 4.33, .01},
		{"p is n2/n1", 2, loss.Path{Heard: []uint64{9000, 900}, Open: 100, Silent: many}, .1, 100 * .01 / .99, 5, 2},
		// The quantile of a Poisson variable with mean 10.1.
		{"many open", 2, loss.Path{Heard: []uint64{59000, 5900}, Open: 1000, Silent: many}, .1, 10.1, 16, 0},
		{"three passes", 3, loss.Path{Heard: []uint64{8100, 810, 81}, Open: 8991, Silent: many}, .1, 9, 17, 2},
		{"nothing lost of many", 2, loss.Path{Heard: []uint64{65000, 0}, Open: 1000, Silent: 535}, 0, 0, 0, 1e-3},
		// All that is silent would answer: no more than that can be missed.
		{"few silent", 2, loss.Path{Heard: []uint64{2430, 462}, Open: 966, Silent: 88}, .190123, 36.227, 53, 2},
		{"all heard", 1, loss.Path{Heard: []uint64{65535}, Open: 6}, 0, 0, 0, 0},
	} {
		e := of(test.passes, test.path)
		if !e.Known || math.Abs(e.Loss-test.loss) > 1e-4 || math.Abs(e.Missed-test.expected) > .01 || math.Abs(e.Missed95-test.bound) > test.within {
			t.Errorf("%s: %+v, want loss %v, %v expected and at most %v missed", test.name, e, test.loss, test.expected, test.bound)
		}
	}
}

// TestUnknown holds that nothing is claimed where nothing can be known.
func TestUnknown(t *testing.T) {
	for name, e := range map[string]loss.Estimate{
		"nothing scanned":             {},
		"nothing heard":               of(4),
		"one pass":                    of(1, loss.Path{Heard: []uint64{1000}, Open: 6, Silent: many}),
		"four answers on pass 1":      of(2, loss.Path{Heard: []uint64{4, 0}, Open: 4, Silent: many}),
		"as many on pass 2 as before": of(2, loss.Path{Heard: []uint64{40, 40}, Open: 4, Silent: many}),
	} {
		if e.Known || e.Recall() != 0 {
			t.Errorf("%s: %+v, recall %v", name, e, e.Recall())
		}
	}
}

// TestRecall holds the criterion of --recall: for one path, that a target is missed with a chance of p^k at the most.
func TestRecall(t *testing.T) {
	for _, test := range []struct {
		passes int
		path   loss.Path
		want   float64
	}{
		{2, loss.Path{Heard: []uint64{6, 0}, Open: 6, Silent: many}, 1 - .6475*.6475},
		{2, loss.Path{Heard: []uint64{100, 0}, Silent: many}, 1 - .0304*.0304}, // nothing open: 20^(1/100)-1
		{1, loss.Path{Heard: []uint64{100}, Open: 3}, 1},
	} {
		if got := of(test.passes, test.path).Recall(); math.Abs(got-test.want) > 1e-4 {
			t.Errorf("%v: %v, want %v", test.path, got, test.want)
		}
	}
	quiet := []uint64{6}
	for passes := 2; ; passes++ {
		quiet = append(quiet, 0)
		if of(passes, loss.Path{Heard: quiet, Open: 6, Silent: many}).Recall() >= .999 {
			if passes != 8 { // p is at most 1-20^(-1/6) = 0.39 in the end, and 0.39^8 < 0.001
				t.Errorf("six answers: 99.9 %% after %d passes, want 8", passes)
			}
			break
		}
		if passes == 20 {
			t.Fatal("six answers: 99.9 % is never reached")
		}
	}
}

// TestHostsApart holds that a host that loses does not hide among hosts that do not.
func TestHostsApart(t *testing.T) {
	var paths []loss.Path
	for i := range 400 {
		p := loss.Path{Heard: []uint64{10, 0}, Open: 10, Silent: 1000}
		if i%2 == 0 {
			late := []uint64{0, 1, 1, 2, 2, 2, 3, 3, 5, 2}[i/2%10] // as chance has it
			p.Heard = []uint64{7, late}
			p.Open = 7 + late
		}
		paths = append(paths, p)
	}
	e := of(2, paths...)
	if truth := 200 * 10 * .09; e.Missed < truth*.7 || e.Missed > truth*1.3 || e.Missed95 < truth || e.Missed95 > 2*truth {
		t.Errorf("%+v; every second host loses 3 of 10: %v missed", e, truth)
	}
}

// TestAdd holds that spans add up: expectations do, bounds to less than that; and that the order does not matter.
func TestAdd(t *testing.T) {
	part := of(2, loss.Path{Heard: []uint64{900, 90}, Open: 100, Silent: 500})
	var sum loss.Estimate
	for range 100 {
		sum = sum.Add(part)
	}
	if !sum.Known || sum.Answers != 99000 || math.Abs(sum.Loss-part.Loss) > 1e-9 || math.Abs(sum.Missed-100*part.Missed) > 1e-6 {
		t.Errorf("a hundred of %+v: %+v", part, sum)
	}
	if sum.Missed95 > 40*part.Missed95 || sum.Missed95 < sum.Missed+1.6*math.Sqrt(sum.Missed) {
		t.Errorf("a hundred spans, %v expected to be missed: at most %v", sum.Missed, sum.Missed95)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := estimate(t), estimate(t)
		ab, ba := a.Add(b), b.Add(a)
		if ab != ba || ab.Answers != a.Answers+b.Answers {
			t.Fatalf("%+v and %+v are %+v, or %+v", a, b, ab, ba)
		}
		if a.Add(loss.Estimate{}) != a {
			t.Fatalf("%+v and nothing are %+v", a, a.Add(loss.Estimate{}))
		}
	})
}

// TestFewInEachSpan holds that hosts that answer on two ports each are judged together though each has a span of its own,
// and that a span of which little is heard does not spoil what is known of the others.
func TestFewInEachSpan(t *testing.T) {
	few := loss.Path{Heard: []uint64{2, 0}, Open: 2, Silent: 998}
	var sum loss.Estimate
	for range 100 {
		sum = sum.Add(of(2, few))
	}
	if whole := of(2, slices.Repeat([]loss.Path{few}, 100)...); sum != whole || !sum.Known || sum.Missed95 > 1 {
		t.Errorf("%+v, want what one span would give: %+v", sum, whole)
	}
	much := of(2, loss.Path{Heard: []uint64{60000, 0}, Open: 10, Silent: 5000})
	if sum := much.Add(of(1, few)); !sum.Known || sum.Missed95 < 998 {
		t.Errorf("one host of which little is known: %+v", sum)
	}
	if sum := of(1, loss.Path{Heard: []uint64{60000}, Open: 10}).Add(of(2, few)); sum.Known {
		t.Errorf("all silence is of a host of which little is known: %+v", sum)
	}
}

func estimate(t *rapid.T) loss.Estimate {
	passes := rapid.IntRange(1, 6).Draw(t, "passes")
	var paths []loss.Path
	for range rapid.IntRange(0, 5).Draw(t, "hosts") {
		p := loss.Path{Silent: rapid.Uint64Range(0, many).Draw(t, "silent")}
		sum := uint64(0)
		for range passes {
			n := rapid.Uint64Range(0, 2000).Draw(t, "heard")
			p.Heard, sum = append(p.Heard, n), sum+n
		}
		if p.Open = rapid.Uint64Range(0, sum).Draw(t, "open"); sum > 0 {
			paths = append(paths, p)
		}
	}
	return of(passes, paths...)
}

// TestSane holds for whatever is heard: numbers are numbers, and nobody misses more than was silent.
func TestSane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := estimate(t)
		for _, x := range []float64{e.Loss, e.Missed, e.Missed95, e.Recall()} {
			if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
				t.Fatalf("%+v, recall %v", e, e.Recall())
			}
		}
		if e.Loss > 1 || e.Recall() > 1 || e.Known && e.Missed > e.Missed95+1e-9 {
			t.Fatalf("%+v, recall %v", e, e.Recall())
		}
	})
}

// TestNoAllocationPerHost holds that a /16 costs no more memory than a host.
func TestNoAllocationPerHost(t *testing.T) {
	heard := []uint64{90, 9, 1}
	of := func(hosts int) float64 {
		return testing.AllocsPerRun(5, func() {
			loss.Of(3, func(yield func(loss.Path) bool) {
				for i := range hosts {
					if !yield(loss.Path{Heard: heard[:1+i%3], Open: 1, Silent: 10}) {
						return
					}
				}
			})
		})
	}
	if one, more := of(10), of(1000); more > one {
		t.Errorf("%v allocations for 10 hosts, %v for 1,000", one, more)
	}
}

func BenchmarkOf(b *testing.B) {
	heard := []uint64{90, 9, 1, 0}
	for b.Loop() {
		loss.Of(4, func(yield func(loss.Path) bool) {
			for range 65536 {
				if !yield(loss.Path{Heard: heard, Open: 1, Silent: 10}) {
					return
				}
			}
		})
	}
}

// TestFewLeft holds that a scan which heard nearly everything knows so, though all that is left may have been lost.
func TestFewLeft(t *testing.T) {
	e := of(4, loss.Path{Heard: []uint64{59146, 5767, 562, 55}, Open: 6, Silent: 4})
	if !e.Known || e.Missed95 > .01 || math.Abs(e.Loss-.0975) > .001 || e.Recall() < .999 {
		t.Errorf("%+v, recall %v", e, e.Recall())
	}
}
