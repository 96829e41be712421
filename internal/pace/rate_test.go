package pace

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// send takes permission for as many as it can get until the time is over, and returns when each was given.
func send(ctx context.Context, r *Rate, batch int, during time.Duration) []time.Time {
	var times []time.Time
	for end := time.Now().Add(during); time.Now().Before(end); {
		for range r.Take(ctx, batch) {
			times = append(times, time.Now())
		}
	}
	return times
}

func TestRateIsKept(t *testing.T) {
	for _, rate := range []float64{1, 3, 99, 1000, 12345, 1e5} {
		synctest.Test(t, func(t *testing.T) {
			const seconds = 5
			times := send(t.Context(), NewRate(rate), 1<<20, seconds*time.Second)
			if got := float64(len(times)) / seconds; got < 0.97*rate || got > 1.03*rate+1 {
				t.Errorf("rate %v: %v a second", rate, got)
			}
			checkWindows(t, times, rate)
		})
	}
}

// checkWindows asserts that in no 100 ms more than ⌈rate × 0.1 s⌉ and one batch of 10 ms was let go.
func checkWindows(t *testing.T, times []time.Time, rate float64) {
	t.Helper()
	allowed := int(rate/10) + 1 + max(1, int(rate/100)+1)
	for i := range times {
		if j := i + allowed; j < len(times) && times[j].Sub(times[i]) < 100*time.Millisecond {
			t.Fatalf("rate %v: %d within %v", rate, allowed+1, times[j].Sub(times[i]))
		}
	}
}

// What was not sent while nobody asked, or while the machine slept, is not made up for.
func TestNoBurstAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(1000)
		times := send(t.Context(), r, 10, time.Second)
		time.Sleep(time.Hour)
		times = append(times, send(t.Context(), r, 10, time.Second)...)
		checkWindows(t, times, 1000)
	})
}

func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(10)
		send(t.Context(), r, 100, time.Second)
		r.Set(1000)
		if n := len(send(t.Context(), r, 100, time.Second)); n < 900 || n > 1050 {
			t.Errorf("%d in the second after the rate became 1000", n)
		}
	})
}

func TestTakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := NewRate(0.001)
		if n := r.Take(ctx, 5); n != 1 {
			t.Errorf("the first take gave %d, want 1", n)
		}
		start := time.Now()
		if n := r.Take(ctx, 5); n != 0 || time.Since(start) != time.Second {
			t.Errorf("the second take gave %d after %v", n, time.Since(start))
		}
	})
}

// The smallest rate is the slowest.
func TestTinyRate(t *testing.T) {
	r, now := NewRate(1e-300), time.Now()
	if n, _ := r.take(now, 5); n != 1 {
		t.Errorf("the first take gave %d", n)
	}
	if n, wait := r.take(now.Add(time.Hour), 5); n != 0 || wait < time.Hour {
		t.Errorf("the second gave %d, or %v to wait", n, wait)
	}
}

func TestNilIsUnlimited(t *testing.T) {
	var r *Rate
	if n := r.Take(t.Context(), 12345); n != 12345 {
		t.Errorf("a nil rate gave %d", n)
	}
}

// Permission taken in advance counts as what is taken when due: together they keep to the rate.
func TestReserve(t *testing.T) {
	now := time.Now()
	r := NewRate(1000)
	for i := range 100 {
		at, want := r.Reserve(now), now.Add(time.Duration(i)*time.Millisecond-batchTime)
		if want.Before(now) {
			want = now
		}
		if !at.Equal(want) {
			t.Fatalf("reservation %d is for %v from now, want %v", i, at.Sub(now), want.Sub(now))
		}
	}
	if n, wait := r.take(now, 1); n != 0 || wait != 90*time.Millisecond {
		t.Errorf("behind them there are %d, or %v to wait", n, wait)
	}
	// After a sleep, all that is made up for is one batch.
	later := now.Add(time.Hour)
	for range 11 {
		if at := r.Reserve(later); !at.Equal(later) {
			t.Fatalf("after an hour a reservation is for %v later", at.Sub(later))
		}
	}
	if at := r.Reserve(later); !at.After(later) {
		t.Error("an hour without reservations is made up for")
	}
	var none *Rate
	if at := none.Reserve(now); !at.Equal(now) {
		t.Errorf("without a rate a reservation is for %v from now", at.Sub(now))
	}
}

// However many share it, together they keep to it.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(500)
		counts := make(chan int, 8)
		for range cap(counts) {
			go func() { counts <- len(send(t.Context(), r, 3, 2*time.Second)) }()
		}
		total := 0
		for range cap(counts) {
			total += <-counts
		}
		if total < 970 || total > 1030 {
			t.Errorf("%d in two seconds at 500 a second", total)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	r := NewRate(1e9)
	for b.Loop() {
		r.Take(b.Context(), 64)
	}
}
