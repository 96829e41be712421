package pace

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The example is worked by hand from RFC 6298 section 2.
func TestRTT(t *testing.T) {
	var r RTT
	if r.Known() || r.Timeout() != 0 {
		t.Errorf("without a sample: known %v, timeout %v", r.Known(), r.Timeout())
	}
	const ms = time.Millisecond
	r.Observe(200 * ms)
	if got, want := r.Timeout(), 200*ms+4*100*ms; !r.Known() || got != want {
		t.Errorf("after 200 ms: known %v, timeout %v, want %v", r.Known(), got, want)
	}
	r.Observe(280 * ms) // rttvar is 100 + (80 - 100)/4 = 95, srtt 200 + 80/8 = 210
	if got, want := r.Timeout(), 210*ms+4*95*ms; got != want {
		t.Errorf("after 280 ms: timeout %v, want %v", got, want)
	}
	r.Observe(130 * ms) // rttvar is 95 + (80 - 95)/4 = 91.25, srtt 210 - 80/8 = 200
	if got, want := r.Timeout(), 200*ms+365*ms; got != want {
		t.Errorf("after 130 ms: timeout %v, want %v", got, want)
	}
}

func TestRTTOfNearHosts(t *testing.T) {
	var r RTT
	for range 1000 {
		r.Observe(10 * time.Microsecond)
	}
	if r.Timeout() != 100*time.Millisecond {
		t.Errorf("a near host is waited for %v", r.Timeout())
	}
	var zero RTT
	zero.Observe(0)
	if !zero.Known() {
		t.Error("a sample too short to measure is none")
	}
}

// However samples come, the timeout is never less than the floor, and in the end no less than the steady sample.
func TestRTTFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r RTT
		for _, sample := range rapid.SliceOf(rapid.Int64Range(0, int64(time.Minute))).Draw(t, "samples") {
			r.Observe(time.Duration(sample))
			if r.Timeout() < minTimeout {
				t.Fatalf("timeout %v", r.Timeout())
			}
		}
		steady := time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "steady"))
		for range 200 {
			r.Observe(steady)
		}
		if got := r.Timeout(); got < steady || got > max(2*steady, minTimeout) {
			t.Fatalf("timeout %v where every answer takes %v", got, steady)
		}
	})
}

// A retry, which may be the last, is waited for longer than a first attempt; nothing longer than the ceiling.
func TestPatience(t *testing.T) {
	var unknown, quick, slow RTT
	quick.Observe(time.Millisecond)
	slow.Observe(200 * time.Millisecond)
	for _, c := range []struct {
		rtt           RTT
		attempt       uint8
		ceiling, want time.Duration
	}{
		{unknown, 1, time.Second, time.Second},
		{unknown, 2, time.Second, time.Second},
		{quick, 1, time.Second, 100 * time.Millisecond},
		{quick, 2, time.Second, 500 * time.Millisecond},
		{quick, 1, 50 * time.Millisecond, 50 * time.Millisecond},
		{slow, 1, time.Second, 600 * time.Millisecond},
		{slow, 3, 5 * time.Second, 2400 * time.Millisecond},
		{slow, 3, time.Second, time.Second},
	} {
		if got := c.rtt.Patience(c.attempt, c.ceiling); got != c.want {
			t.Errorf("attempt %d below %v: %v, want %v", c.attempt, c.ceiling, got, c.want)
		}
	}
}
