package scan

import (
	"fmt"
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
}

// A footprint says how much of a pass was handed out at a time.
type footprint struct {
	when time.Time
	done uint64
}

const (
	settlePause = 5 * time.Millisecond // between two looks whether it is settled
	mostExtra   = 8                    // passes in which answers get lost here; then what is silent stays undecided
	onTheWire   = time.Second          // what was handed out so long ago has left
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
	u.trail = u.trail[:0]
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
		u.trail = append(u.trail, footprint{now, done})
	}
}

// settled returns how much of a pass has had its time.
func (u *untold) settled(timeout time.Duration) (done uint64) {
	due := time.Now().Add(-timeout - onTheWire)
	past := 0
	for past+1 < len(u.trail) && u.trail[past+1].when.Before(due) {
		past++
	}
	u.trail = u.trail[past:]
	if len(u.trail) > 0 && u.trail[0].when.Before(due) {
		done = u.trail[0].done
	}
	return done
}

// again reports whether the silent are to be asked once more because answers were lost here, whatever the plan says of attempts:
// what was silent then may have answered. Where that does not end, it leaves the silence unproved.
func (q *queue) again() bool {
	lost := q.untold.lostNow()
	if lost == 0 {
		return false
	}
	if q.untold.extra < mostExtra && q.pass < 255 {
		q.untold.extra++
		return true
	}
	q.unproved = true
	if q.localErr == nil {
		q.localErr = fmt.Errorf("this machine lost %d answers for want of room", lost)
	}
	return false
}
