package serve

import (
	"net/netip"
	"time"
)

// refuse takes note of a client that was turned away.
func (r *run) refuse(why Refusal, peer netip.AddrPort) {
	r.lastRefused[why] = peer
	if r.Counts != nil {
		r.Counts.Refused[why].Add(1)
	}
	r.tellRefused(why, r.refused[why].Add(time.Now(), 1))
}

// failed takes note of an accept that failed.
func (r *run) failed(err error) {
	r.lastTrouble = err
	if r.Counts != nil {
		r.Counts.addFailed(err)
	}
	r.tellTrouble(r.trouble.Add(time.Now(), 1))
}

func (r *run) tell(e Event) {
	if r.Event != nil {
		r.Event(e)
	}
}

func (r *run) tellRefused(why Refusal, count int) {
	if count > 0 {
		r.tell(Event{Kind: Refused, Time: time.Now(), Peer: r.lastRefused[why], Count: count, Why: why})
	}
}

func (r *run) tellTrouble(count int) {
	if count > 0 {
		r.tell(Event{Kind: Trouble, Time: time.Now(), Err: r.lastTrouble, Count: count})
	}
}

// tellDue tells what has waited for its interval's end.
func (r *run) tellDue(now time.Time) {
	for why := range r.refused {
		r.tellRefused(Refusal(why), r.refused[why].Due(now))
	}
	r.tellTrouble(r.trouble.Due(now))
}

// tellRest tells what still waits.
func (r *run) tellRest() {
	for why := range r.refused {
		r.tellRefused(Refusal(why), r.refused[why].Rest())
	}
	r.tellTrouble(r.trouble.Rest())
}

// notice returns a channel that receives when a count is due to be told.
func (r *run) notice() <-chan time.Time {
	wake := r.trouble.Wake()
	for why := range r.refused {
		if t := r.refused[why].Wake(); wake.IsZero() || !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	if wake.IsZero() {
		return nil
	}
	return time.After(time.Until(wake))
}
