package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whoever asks, and when: a probe is due when its time has come, none twice, and none after the last.
func TestTimetable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(1000, 0)
		rate := rapid.Float64Range(0.01, 1e7).Draw(t, "rate")
		most := rapid.Uint64Range(1, 1<<40).Draw(t, "most")
		table, now, given := NewTimetable(start, rate), start, uint64(0)
		for range rapid.IntRange(1, 50).Draw(t, "times") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "ms")) * time.Millisecond)
			due := table.Due(now, most)
			if due < given || due > most || due == 0 {
				t.Fatalf("%d due of %d, %d before", due, most, given)
			}
			if due > given && table.At(due-1).After(now) {
				t.Fatalf("number %d is due at %v, and was given at %v", due-1, table.At(due-1), now)
			}
			if next := table.At(due); due < most && !next.After(now) {
				t.Fatalf("number %d was due at %v, and is not given at %v", due, next, now)
			}
			given = due
		}
		for n := uint64(1); n < min(given, 1000); n++ {
			if table.At(n).Before(table.At(n - 1)) {
				t.Fatalf("%d comes before %d", n, n-1)
			}
		}
	})
}

// A time that is rounded down to now is due now.
func TestTimetableRounds(t *testing.T) {
	start := time.Unix(1000, 0)
	table := NewTimetable(start, 8.835507375e+06)
	for _, at := range []time.Duration{28 * time.Millisecond, 67 * time.Millisecond} {
		due := table.Due(start.Add(at), 1e9)
		if last, next := table.At(due-1).Sub(start), table.At(due).Sub(start); last > at || next <= at {
			t.Errorf("at %v number %d is given, of %v; the next is due at %v", at, due-1, last, next)
		}
	}
}

// A process that was stopped for a minute does not send a minute's probes at once.
func TestTimetableIsMovedNotCaughtUp(t *testing.T) {
	start := time.Unix(1000, 0)
	table := NewTimetable(start, 1000)
	if due := table.Due(start.Add(99*time.Millisecond), 1e9); due != 100 || table.Moved() != 0 {
		t.Errorf("within the grace %d are due, moved %v", due, table.Moved())
	}
	later := start.Add(time.Minute)
	if due := table.Due(later, 1e9); due != 101 || table.Moved() < 59*time.Second {
		t.Errorf("after a minute %d are due, moved %v", due, table.Moved())
	}
	if at := table.At(50); at != start.Add(50*time.Millisecond) {
		t.Errorf("what was due before is due at %v now", at)
	}
	if at := table.At(110); at != later.Add(10*time.Millisecond) {
		t.Errorf("the rest goes on at %v", at)
	}
}

func TestAlarm(t *testing.T) {
	for name, a := range map[string]*Alarm{"precise": Precise(), "timer": {}} {
		begun := time.Now()
		for range 3 {
			until := time.Now().Add(2 * time.Millisecond)
			if err := a.Wait(t.Context(), until); err != nil || time.Now().Before(until) {
				t.Errorf("%s: %v, %v early", name, err, time.Until(until))
			}
		}
		if err := a.Wait(t.Context(), begun); err != nil {
			t.Errorf("%s: of a time that is past: %v", name, err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		time.AfterFunc(time.Millisecond, func() { cancel(enough) })
		if err := a.Wait(ctx, time.Now().Add(time.Hour)); !errors.Is(err, enough) {
			t.Errorf("%s: interrupted: %v", name, err)
		}
		if err := a.Wait(t.Context(), time.Now().Add(time.Millisecond)); err != nil {
			t.Errorf("%s: after another's interruption: %v", name, err)
		}
		a.Close()
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := new(Alarm).Wait(t.Context(), start.Add(time.Minute)); err != nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
