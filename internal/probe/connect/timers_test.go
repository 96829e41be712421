package connect

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is set and stopped, the first is the earliest of those that stand.
func TestTimers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var timers timers
		want := map[int]time.Duration{}
		fds, times := rapid.IntRange(0, 40), rapid.IntRange(0, 100)
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			fd := fds.Draw(t, "fd")
			switch at := times.Draw(t, "at"); {
			case at < 30:
				timers.stop(fd)
				delete(want, fd)
			default:
				timers.set(fd, time.Duration(at))
				want[fd] = time.Duration(at)
			}
			checkFirst(t, &timers, want)
		}
		for len(want) > 0 {
			fd, _, _ := timers.first()
			timers.stop(fd)
			delete(want, fd)
			checkFirst(t, &timers, want)
		}
	})
}

func checkFirst(t *rapid.T, timers *timers, want map[int]time.Duration) {
	fd, at, ok := timers.first()
	if ok != (len(want) > 0) {
		t.Fatalf("first is there: %v, of %v", ok, want)
	}
	if ok && want[fd] != at {
		t.Fatalf("descriptor %d has time %v, want %v", fd, at, want[fd])
	}
	for other, earlier := range want {
		if earlier < at {
			t.Fatalf("descriptor %d comes first, at %v; %d is due at %v", fd, at, other, earlier)
		}
	}
}

func TestTimersAllocateNothing(t *testing.T) {
	var timers timers
	for fd := range 100 {
		timers.set(fd, time.Duration(fd))
	}
	if n := testing.AllocsPerRun(100, func() { timers.stop(50); timers.set(50, 7); timers.set(50, 70) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTimers(b *testing.B) {
	var timers timers
	for fd := range 10000 {
		timers.set(fd, time.Duration(fd))
	}
	at := time.Duration(10000)
	for b.Loop() {
		fd, _, _ := timers.first()
		timers.stop(fd)
		timers.set(fd, at)
		at++
	}
}
