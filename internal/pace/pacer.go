package pace

import (
	"math"
	"time"
)

// A Pacer says how fast one host may be asked. Its zero value sets no limit, and none is set until a probe is seen to
// have got lost: that a host is silent says nothing against asking it faster.
//
// A loss comes to light when a probe is answered that was silent before (its attempt is 2 or more). It may be chance, or the
// host cannot keep up: which, is told by asking more slowly. So the host is asked a thousand times a second then, and
// twice as fast after each trial of some 30 ms in which the same part of the probes was answered as before; soon it has no
// limit again, if it was chance. Where a smaller part is answered the host is at its limit, and is asked no faster than it
// answered; from there on the rate grows by an eighth with each trial. Each pass begins slowly again, and grows fast to half
// the rate at which the host was at its limit.
//
// This is TCP's slow start and congestion avoidance (RFC 5681) with a rate in place of a window, as in BBR: a window
// is no hold on a host that answers for its services. The kernel accepts for a service that is behind, at once, until the
// queue is full, and drops what comes then.
//
// A Pacer belongs to one goroutine, or to a lock of its owner. Times are since any beginning, for all its methods the same.
type Pacer struct {
	rate    float64       // probes a second; 0: no limit
	next    time.Duration // when the next may go
	slow    float64       // the rate from which on it grows slowly; 0: none was too fast
	share   float64       // of the probes, answered when the host kept up; 0: not known
	attempt uint8         // of the pass at hand
	tried   uint8         // the attempt whose late answers have led to a limit
	trial   trial
}

// A trial counts probes and their answers at one rate.
type trial struct {
	id             uint32
	sent, answered int
	full           bool          // enough were sent; the answers are waited for
	over           time.Duration // when it is full: until when
}

const (
	firstRate     = 1000.
	leastRate     = 50.
	mostRate      = 100e3 // beyond it there is no limit
	longestWait   = 10.   // seconds for all that waits for one host: a host that answers little of that is not worth more
	trialTime     = 30 * time.Millisecond
	trialProbes   = 32                    // at least
	conclusive    = 8                     // fewer answers than that, due or come, show nothing
	keepsUp       = 0.85                  // of the answers that are due
	aheadTime     = 2 * time.Millisecond  // a loop's clock has steps of a millisecond
	settleAtLeast = 10 * time.Millisecond // a host's answers come in bursts: its scheduler has slices
)

// Limited reports whether there is a limit at all.
func (p *Pacer) Limited() bool { return p.rate > 0 && p.rate <= mostRate }

// Ahead is for how many probes at a time there should be a reservation.
func (p *Pacer) Ahead() int { return 1 + int(p.rate*aheadTime.Seconds()) }

// Reserve returns when one more probe may go, now or later.
func (p *Pacer) Reserve(now time.Duration) time.Duration {
	at := max(now, p.next)
	p.next = at + time.Duration(float64(time.Second)/p.rate)
	return at
}

// Sent notes that a probe with that attempt number went out under the limit, while so many others wait. r is the host's. It
// returns the name of the trial that the probe counts for, 0 if for none.
func (p *Pacer) Sent(now time.Duration, attempt uint8, r *RTT, waiting int) uint32 {
	if attempt != p.attempt {
		p.pass(attempt)
	}
	t := &p.trial
	if t.full && now < t.over {
		return 0
	}
	if t.full {
		p.judge(float64(waiting) / longestWait)
	}
	t.sent++
	if t.sent >= max(trialProbes, int(p.rate*trialTime.Seconds())) {
		t.full, t.over = true, now+max(r.bound(), settleAtLeast)
	}
	return t.id
}

// pass begins another pass: what it asks again answers in another measure than all that was asked before.
func (p *Pacer) pass(attempt uint8) {
	if p.trial.sent >= trialProbes {
		p.judge(leastRate) // there will be no more answers
	}
	p.rate = min(p.rate, firstRate)
	if p.slow > 0 {
		p.slow /= 2
		p.rate = max(min(p.rate, p.slow), leastRate)
	}
	p.attempt, p.share = attempt, 0
	p.trial = trial{id: p.trial.id + 1}
}

// judge ends a trial, and sets the rate of the next: not below floor.
func (p *Pacer) judge(floor float64) {
	t := p.trial
	p.trial = trial{id: t.id + 1}
	due := p.share * float64(t.sent)
	chance := 2 * math.Sqrt(due*(1-p.share)+1) // two standard deviations
	behind := due >= conclusive && float64(t.answered) < keepsUp*due-chance
	p.learn(t, behind)
	if behind {
		p.rate = max(p.rate*keepsUp*float64(t.answered)/due, floor, leastRate)
		p.slow = p.rate
		return
	}
	if p.slow == 0 || 2*p.rate <= p.slow {
		p.rate *= 2
	} else {
		p.rate *= 9. / 8
	}
	p.rate = max(p.rate, floor)
}

// learn takes in which part is answered of a host that keeps up: about the most that was seen. What is seen once too often to be
// chance lets it sink: or a lucky trial would make all that follow look like failures.
func (p *Pacer) learn(t trial, behind bool) {
	if p.share == 0 && t.answered < conclusive {
		return
	}
	share := float64(t.answered) / float64(t.sent)
	switch {
	case p.share == 0:
		p.share = share
	case share > p.share:
		p.share += (share - p.share) / 2
	case behind:
		p.share += (share - p.share) / 8
	default:
		p.share += (share - p.share) / 32
	}
}

// Answered notes an answer to a probe that had that attempt number and counted for that trial.
func (p *Pacer) Answered(attempt uint8, trial uint32) {
	if trial == p.trial.id && trial != 0 {
		p.trial.answered++
	}
	if attempt > 1 && attempt != p.tried {
		p.tried = attempt
		if !p.Limited() {
			p.rate, p.next = firstRate, 0
		}
	}
}
