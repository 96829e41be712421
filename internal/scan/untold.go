package scan

import (
	"errors"
	"time"

	"sonde/internal/probe"
)

// A Forgetful prober remembers nothing of what it asked, and so reports no silence. It says instead when nothing more is
// to come. Both methods may be called from anywhere.
type Forgetful interface {
	Prober
	// Settled reports whether so many probes that were handed out in this call of Probe have been on their way for so long, and
	// all that came back until then was reported.
	Settled(handedOut uint64, wait time.Duration) bool
	// Heard returns until when all that came back was reported; the zero time unless so many probes were given to be sent.
	Heard(handedOut uint64) time.Time
	// Lost returns how many answers this machine has lost so far.
	Lost() uint64
}

// untold is what a queue keeps of the probes that go to a forgetful prober. Its zero value is of a scan without one.
type untold struct {
	prober Forgetful
	protos [probe.Echo + 1]bool // whose probes go to it
	handed uint64               // in this run
	lost   uint64               // answers that were lost here before this pass
	extra  int                  // passes that were made for such a loss alone
	trail  []footprint
	past   uint64 // the last of the trail that is accounted for
}

// A footprint says how much of a pass was handed out at a time.
type footprint struct {
	when   time.Time
	done   uint64
	handed uint64 // in all
}

const (
	settlePause = 5 * time.Millisecond // between two looks whether it is settled
	mostExtra   = 8                    // passes in which answers get lost here; then what is silent stays undecided
	onTheWire   = time.Second          // what a prober was given so long ago has left
	fewLost     = 0.01                 // of the probes of a pass
)

// findUntold returns what there is to keep for a prober.
func findUntold(p Prober) (u untold) {
	m, ok := p.(Mux)
	if !ok {
		if u.prober, ok = p.(Forgetful); ok {
			u.protos = [...]bool{true, true, true}
		}
		return u
	}
	for proto, p := range m {
		if f, ok := p.(Forgetful); ok {
			u.prober = f
			u.protos[proto] = true
		}
	}
	return u
}

// isSettled reports whether no answer is to be waited for any more.
func (u *untold) isSettled(timeout time.Duration) bool {
	return u.prober == nil || u.handed == 0 || u.prober.Settled(u.handed, timeout)
}

// beginPass forgets what was of the pass before.
func (u *untold) beginPass() {
	u.trail, u.past = u.trail[:0], 0
	if u.prober != nil {
		u.lost = u.prober.Lost()
	}
}

// lostNow returns how many answers were lost here in this pass.
func (u *untold) lostNow() uint64 {
	if u.prober == nil {
		return 0
	}
	return u.prober.Lost() - u.lost
}

// note keeps how much of a pass is handed out.
func (u *untold) note(now time.Time, done uint64) {
	if n := len(u.trail); n == 0 || now.Sub(u.trail[n-1].when) > markEvery {
		u.trail = append(u.trail, footprint{now, done, u.handed})
	}
}

// accounted returns how much of a pass has had its time.
func (u *untold) accounted(timeout time.Duration) (done uint64) {
	for len(u.trail) > 0 {
		f := u.trail[0]
		if !u.prober.Heard(f.handed).After(f.when.Add(timeout + onTheWire)) {
			break
		}
		u.past, u.trail = f.done, u.trail[1:]
	}
	return u.past
}

// ErrLost is in Summary.LocalErr when answers were lost here, for want of room, in pass after pass: what is silent is undecided.
var ErrLost = errors.New("this machine had no room for all answers")

// again reports whether the silent are to be asked once more because answers were lost here, whatever the plan says of attempts:
// what was silent then may have answered. A pass made for that which hears nothing new ends it, if next to nothing got lost: an interface
// counts as lost what others sent, too. Where it does not end, the silence is unproved.
func (q *queue) again() bool {
	lost := q.untold.lostNow()
	switch {
	case lost == 0, q.untold.extra > 0 && !q.heard && float64(lost) <= fewLost*float64(q.ledger.counts[silent]):
		return false
	case q.untold.extra < mostExtra && q.pass < 255:
		q.untold.extra++
		return true
	}
	q.unproved = true
	if q.localErr == nil {
		q.localErr = ErrLost
	}
	return false
}
