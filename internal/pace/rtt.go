package pace

import "time"

// An RTT estimates how long a host takes to answer, as RFC 6298 section 2 does. Its zero value knows
// nothing yet. It belongs to one goroutine, or to a lock of its owner.
type RTT struct {
	srtt, rttvar time.Duration
}

// minTimeout is the least time that an answer is waited for: a host that answered a thousand times within a
// millisecond may still be busy for the length of a scheduler's slice, or of an ARP request.
const minTimeout = 100 * time.Millisecond

// Observe takes in how long an answer took. Samples must be unambiguous: an answer to something that was sent
// more than once says nothing (Karn's algorithm, RFC 6298 section 3).
func (r *RTT) Observe(sample time.Duration) {
	sample = max(sample, 1)
	if !r.Known() {
		r.srtt, r.rttvar = sample, sample/2
		return
	}
	delta := sample - r.srtt
	r.rttvar += (max(delta, -delta) - r.rttvar) / 4
	r.srtt += delta / 8
}

// Known reports whether there was any sample.
func (r *RTT) Known() bool { return r.srtt > 0 }

// Timeout returns how long to wait for an answer: srtt + 4·rttvar, at least 100 ms. When nothing is known
// it returns 0: the caller's own limit stands.
func (r *RTT) Timeout() time.Duration {
	if !r.Known() {
		return 0
	}
	return max(r.bound(), minTimeout)
}

// bound is how long nearly every answer takes at most.
func (r *RTT) bound() time.Duration { return r.srtt + 4*r.rttvar }

// lastChance is how long an answer is waited for at least when the probe may be the last to its target: any but the first.
const lastChance = 500 * time.Millisecond

// Patience returns how long an answer to a probe with that attempt number, from 1, is waited for: ceiling at the most, and as long as
// nothing is known.
func (r *RTT) Patience(attempt uint8, ceiling time.Duration) time.Duration {
	switch {
	case !r.Known():
		return ceiling
	case attempt > 1:
		return min(max(4*r.Timeout(), lastChance), ceiling)
	}
	return min(r.Timeout(), ceiling)
}
