// Package stateless probes without remembering what it asked: a sending and a receiving half that share nothing
// but the wire between them.
//
// What was asked is in the probe, under a key, and comes back in the answer. So a scan needs no memory for a probe, and answers
// count whenever they come. Silence is nobody's to report: the prober says when all that it was given has had its time
// (Settled), and whoever counts answers knows what is left.
package stateless

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/pace"
	"sonde/internal/probe"
)

// A Wire carries probes out and hears what comes back.
type Wire interface {
	// Send sends probes, or takes them to be sent in a moment, and reports those Unsent that this machine could not send. It may
	// wait. An error ends the scan.
	Send(ctx context.Context, probes []probe.Probe, report func(probe.Result)) error
	// Receive reports answers until ctx ends, which is no error. The attempt in them is that of the probe, modulo 8, or UnknownAttempt.
	Receive(ctx context.Context, report func(probe.Result)) error
	// State says when the last probe left that it took (now, while any is still to leave), until when all that came back was
	// reported, and how many answers this machine had no room for so far. It may be called at any time, from anywhere.
	State() (sent, heard time.Time, lost uint64)
}

// attempts is how many attempts a probe tells apart.
const attempts = 8

// UnknownAttempt is the attempt of an answer that does not tell which probe it answers: it is taken for the latest.
const UnknownAttempt = 255

// A Prober sends probes over a Wire and reports the answers. It makes one scan at a time. Elsewhere than in Probe it may be asked
// at any time.
type Prober struct {
	Wire Wire
	// Rate is the one by which probes fall due. It is lowered while this machine loses answers, or the network probes, and raised
	// again; never above Limit probes a second. nil: it is left alone.
	Rate  *pace.Rate
	Limit float64

	steering steering
	attempt  atomic.Uint32 // the latest that was sent
	given    atomic.Uint64 // probes that the wire was given, in this call of Probe
	told     atomic.Uint64 // counts the beginnings and ends of reports: odd while one is taken
}

// batch is how many probes are asked for at once: enough to make a system call, or a run in the kernel, worth its price.
const batch = 1 << 14

// Probe implements scan.Prober.
func (p *Prober) Probe(outer context.Context, due probe.Due, report func(probe.Result)) error {
	p.attempt.Store(0)
	defer p.given.Store(0) // before the next scan asks
	p.steering.begin(p.Rate, p.Limit)
	g, ctx := errgroup.WithContext(outer)
	hearing, deafen := context.WithCancel(ctx)
	defer deafen()
	var one sync.Mutex // both halves report
	tell := func(r probe.Result) {
		one.Lock()
		defer one.Unlock()
		p.told.Add(1)
		report(r)
		p.told.Add(1)
	}
	g.Go(func() error {
		return p.Wire.Receive(hearing, func(r probe.Result) {
			r.Attempt = p.fullAttempt(r.Attempt)
			p.steering.answered(r.Attempt)
			tell(r)
		})
	})
	g.Go(func() error {
		defer deafen() // due has waited for the last answer
		return p.send(ctx, due, tell)
	})
	return errors.Join(g.Wait(), outer.Err())
}

// send gives the wire what falls due, until there is no more.
func (p *Prober) send(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	buf := make([]probe.Probe, batch)
	for stuck := uint64(0); ; stuck = p.told.Load() {
		if err := p.awaitSink(ctx, stuck); err != nil {
			return err
		}
		n, ok := due.Next(ctx, buf)
		if !ok {
			return nil
		}
		attempt := buf[n-1].Attempt
		p.attempt.Store(uint32(attempt))
		if err := p.Wire.Send(ctx, buf[:n], report); err != nil {
			return err
		}
		p.given.Add(uint64(n))
		p.steering.sent(attempt, n, p.Lost())
	}
}

// awaitSink waits while one and the same report has been on its way since the last batch: who does not take answers gets no more
// of them, rather than that they get lost.
func (p *Prober) awaitSink(ctx context.Context, stuck uint64) error {
	for stuck%2 == 1 && p.told.Load() == stuck {
		select {
		case <-time.After(sinkPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sinkPause is how often it is looked whether the sink takes answers again.
const sinkPause = time.Millisecond

// fullAttempt returns the attempt of which low is what a probe can tell: the latest that may be meant.
func (p *Prober) fullAttempt(low uint8) uint8 {
	latest := max(1, uint8(p.attempt.Load()))
	if low == UnknownAttempt {
		return latest
	}
	back := (latest - low) % attempts
	return latest - min(back, latest-min(latest, 1))
}

// Settled reports whether so many probes that were handed out in this call of Probe have been on their way for so long, and
// all that came back until then was reported.
func (p *Prober) Settled(handedOut uint64, wait time.Duration) bool {
	if p.given.Load() < handedOut {
		return false
	}
	sent, heard, _ := p.Wire.State()
	return heard.After(sent.Add(wait))
}

// Heard returns until when all that came back was reported; the zero time unless so many probes were given to the wire in this call of
// Probe.
func (p *Prober) Heard(handedOut uint64) time.Time {
	if p.given.Load() < handedOut {
		return time.Time{}
	}
	_, heard, _ := p.Wire.State()
	return heard
}

// Lost returns how many answers this machine has lost so far.
func (p *Prober) Lost() uint64 {
	_, _, lost := p.Wire.State()
	return lost
}
