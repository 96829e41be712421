package measure

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

func TestParseCondition(t *testing.T) {
	for text, want := range map[string]string{
		"p99<5ms": "p99<5ms", "p99.9 < 20ms": "p99.9<20ms", "mean<1ms": "mean<1ms", "max<1s": "max<1s", "loss<1%": "loss<1%", "loss<0.001": "loss<0.1%", "failed<100%": "failed<100%",
	} {
		if c, err := ParseCondition(text); err != nil || c.String() != want {
			t.Errorf("%q: %v, %v", text, c, err)
		}
	}
	for _, text := range []string{"", "p99", "p99>5ms", "p99<5", "p99<=5ms", "p0<1ms", "p100<1ms", "px<1ms", "p99<-1ms", "p99<0s", "rate<5ms", "loss<0", "loss<200%", "loss<x", "pNaN<1ms", "loss<1"} {
		if c, err := ParseCondition(text); err == nil {
			t.Errorf("%q is %v", text, c)
		}
	}
}

func FuzzParseCondition(f *testing.F) {
	f.Add("p99<5ms")
	f.Add("loss<0.1%")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCondition(text)
		if err != nil {
			return
		}
		if again, err := ParseCondition(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q is %v, which is %v, %v", text, c, again, err)
		}
	})
}

// reportOf is a run of which so many took that long and the others are lost.
func reportOf(answered, lost uint64, took time.Duration) *Report {
	r := &Report{Counts: Counts{Probes: answered + lost, Answered: answered, Lost: lost}, Latency: NewDistribution()}
	for range answered {
		r.Latency.Record(took)
	}
	return r
}

// What did not come back is the slowest of all.
func TestConditionCountsWhatIsLost(t *testing.T) {
	tardy := reportOf(100, 0, time.Second) // half of them came after the time-out, and have a time nevertheless
	tardy.Answered, tardy.Late = 50, 50
	for _, test := range []struct {
		condition string
		r         *Report
		kept      bool
	}{
		{"p99<5ms", reportOf(1000, 0, time.Millisecond), true},
		{"p99<5ms", reportOf(1000, 0, 6*time.Millisecond), false},
		{"p99<5ms", reportOf(995, 5, time.Millisecond), true},
		{"p99<5ms", reportOf(980, 20, time.Millisecond), false},
		{"p50<5ms", reportOf(0, 1000, 0), false},
		{"mean<5ms", reportOf(999, 1, time.Millisecond), false},
		{"max<5ms", reportOf(1000, 0, time.Millisecond), true},
		{"loss<1%", reportOf(991, 9, time.Second), true},
		{"loss<1%", reportOf(990, 10, time.Second), false},
		{"loss<1%", tardy, true},
		{"failed<10%", tardy, false},
		{"p99<5s", tardy, true},
		{"mean<1500ms", tardy, true},
	} {
		c, err := ParseCondition(test.condition)
		if err != nil || c.Kept(test.r) != test.kept {
			t.Errorf("%s of %+v: kept %v, %v", test.condition, test.r.Counts, !test.kept, err)
		}
	}
}

// A server that bears capacity probes a second, by a machine that sends client.
func server(capacity, client float64) func(context.Context, Plan) (*Report, error) {
	return func(_ context.Context, p Plan) (*Report, error) {
		r := reportOf(100, 0, time.Millisecond)
		if p.Rate > capacity {
			r = reportOf(100, 0, time.Second)
		}
		r.Asked, r.Achieved = p.Rate, min(p.Rate, client)
		return r, nil
	}
}

func TestSearchFindsTheBorder(t *testing.T) {
	condition, err := ParseCondition("p99<5ms")
	if err != nil {
		t.Fatal(err)
	}
	for _, capacity := range []float64{3, 99, 100, 777, 12345, 1e6} {
		var steps []Step
		s := Search{Condition: condition, Step: 10 * time.Second, Told: func(s Step) { steps = append(steps, s) }, try: server(capacity, 1e9)}
		f, err := s.Run(t.Context())
		if err != nil || f.Rate > capacity || f.Rate < capacity/narrow/1.001 || f.Limited || f.Steps != len(steps) || f.NotKept <= capacity || f.NotKept > capacity*narrow*1.001 {
			t.Errorf("of %v/s it found %+v, %v", capacity, f, err)
		}
		if last := steps[len(steps)-1]; !last.Again || !last.Kept || last.Rate != f.Rate {
			t.Errorf("the border was not asked again: %+v", last)
		}
	}
	if f, err := (Search{Condition: condition, Step: 10 * time.Second, try: server(1e9, 5000)}).Run(t.Context()); err != nil || !f.Limited || f.Rate > 5000/fastEnough || f.Rate < 4500 {
		t.Errorf("a machine that sends 5000/s found %+v, %v", f, err)
	}
	f, err := (Search{Condition: condition, Step: 10 * time.Second, try: server(0, 1e9)}).Run(t.Context())
	if err != nil || f.Rate != 0 || f.Lowest != 1 || f.NotKept != 1 || f.Best == nil {
		t.Errorf("of a server that bears nothing it found %+v, %v", f, err)
	}
	failed := errors.New("no connection")
	if _, err := (Search{Condition: condition, Step: 10 * time.Second, try: func(context.Context, Plan) (*Report, error) { return nil, failed }}).Run(t.Context()); !errors.Is(err, failed) {
		t.Error(err)
	}
}

// A rate that is not kept once is asked again before the search turns: a bad moment is no border.
func TestSearchAsksAgain(t *testing.T) {
	condition, _ := ParseCondition("p99<5ms")
	asked := map[float64]int{}
	moody := func(ctx context.Context, p Plan) (*Report, error) {
		if asked[p.Rate]++; asked[p.Rate] == 1 { // the first time nothing is kept
			return server(0, 1e9)(ctx, p)
		}
		return server(1000, 1e9)(ctx, p)
	}
	f, err := Search{Condition: condition, Step: 10 * time.Second, try: moody}.Run(t.Context())
	if err != nil || f.Rate > 1000 || f.Rate < 950 {
		t.Errorf("%+v, %v", f, err)
	}
}

// A server that hangs up at a rate does not keep it, if it kept another; a search that ends before its time says what it knows.
func TestSearchGoesOnWhereTheServerGivesWay(t *testing.T) {
	condition, _ := ParseCondition("p99<5ms")
	hangup := func(_ context.Context, p Plan) (*Report, error) {
		if p.Rate > 1000 {
			return reportOf(0, 0, 0), &HangupError{io.EOF}
		}
		return server(1e9, 1e9)(t.Context(), p)
	}
	f, err := Search{Condition: condition, Step: 10 * time.Second, try: hangup}.Run(t.Context())
	if err != nil || f.Rate > 1000 || f.Rate < 950 {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = Search{Condition: condition, Step: 10 * time.Second, From: 2000, try: hangup}.Run(t.Context())
	if err == nil || f.Rate != 0 {
		t.Errorf("of a server that always hung up it found %+v, %v", f, err)
	}
	gone := errors.New("gone")
	f, err = Search{Condition: condition, Step: 10 * time.Second, try: func(ctx context.Context, p Plan) (*Report, error) {
		if p.Rate > 300 {
			return nil, gone
		}
		return server(1e9, 1e9)(ctx, p)
	}}.Run(t.Context())
	if !errors.Is(err, gone) || f.Rate != 200 || f.Steps != 2 {
		t.Errorf("%+v, %v", f, err)
	}
}

// Each step has probes enough for its percentile, if that does not take for ever.
func TestSearchStepsAreLongEnough(t *testing.T) {
	for text, want := range map[string]map[float64]time.Duration{
		"p99<5ms":     {1e6: 2 * time.Second, 200: 5 * time.Second, 100: 10 * time.Second, 1: 10 * time.Second},
		"p50<5ms":     {100: 2 * time.Second, 20: 5 * time.Second},
		"loss<0.001%": {1e6: 2 * time.Second, 1e5: 10 * time.Second},
	} {
		condition, _ := ParseCondition(text)
		for rate, want := range want {
			if got := (Search{Condition: condition, Step: 2 * time.Second}).tried(rate); got.Round(time.Millisecond) != want {
				t.Errorf("%s: %v/s is tried for %v, not %v", text, rate, got, want)
			}
		}
	}
	c, _ := ParseCondition("p99<5ms")
	if !c.Coarse(99) || c.Coarse(100) {
		t.Error("p99 of 99 probes is their maximum, and of 100 it is not")
	}
}

// A border that was kept by chance is not kept again: the answer is below it.
func TestSearchDoubtsTheBorder(t *testing.T) {
	condition, _ := ParseCondition("p99<5ms")
	best := 0.0
	real := server(1000, 1e9)
	lucky := func(ctx context.Context, p Plan) (*Report, error) {
		if p.Rate > best && p.Rate < 1300 { // kept the first time only
			best = p.Rate
			return server(1e9, 1e9)(ctx, p)
		}
		return real(ctx, p)
	}
	f, err := Search{Condition: condition, Step: 10 * time.Second, try: lucky}.Run(t.Context())
	if err != nil || f.Rate > 1000 || f.Rate < 800 {
		t.Errorf("%+v, %v", f, err)
	}
}

// A real search against a real server ends, and says what it did.
func TestSearchOverTCP(t *testing.T) {
	condition, _ := ParseCondition("p50<1s")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var told []string
	s := Search{Plan: filled(Plan{Dial: serveTCP(t, echoTCP), Connections: 2}), Condition: condition, Step: 20 * time.Millisecond, Told: func(s Step) {
		if told = append(told, s.Report.Latency.Percentile(50).String()); len(told) == 3 {
			cancel(enough)
		}
	}}
	f, err := s.Run(ctx)
	if !errors.Is(err, enough) || f.Steps != 3 || len(told) != 3 || slices.Contains(told, "0s") {
		t.Errorf("%+v, %v, %v", f, err, told)
	}
}
