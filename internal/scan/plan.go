// Package scan carries out scans: one span of a plan, start to finish.
//
// A Plan says what is asked and in which order; it is arithmetic and holds no list. A
// Prober sends what is due and reports what it hears. Run joins them: it hands out each
// target that is still silent, pass after pass, keeps the best answer of each, and gives
// every answer to a Sink. What nobody answered is not stored anywhere: it is
// what is left, and Summary tells it.
package scan

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/target"
)

// A Plan says what to scan and how. Plans with equal Space and Seed probe equal targets
// in equal order on every machine. Make it with NewPlan.
type Plan struct {
	Space    target.Space
	Seed     uint64
	Rate     *pace.Rate    // probes per second; nil means unlimited
	Attempts uint8         // passes at the most; pass 3 and later only if the one before heard anything
	Timeout  time.Duration // how long one probe waits for its answer
	// Untold says that the prober does not report silence; it is assumed two timeouts after the last sign of life.
	Untold bool

	order *order
}

// NewPlan returns the plan that probes space in the order that seed names. The caller sets the rest.
func NewPlan(space target.Space, seed uint64) Plan {
	return Plan{Space: space, Seed: seed, order: newOrder(space.Sizes(), seed)}
}

// At returns the target that is probed at a place, for places below Space.Len.
func (p *Plan) At(place uint64) probe.Target { return p.Space.At(p.order.at(place)) }

// Place returns the place at which t is probed, false if t is no target of the plan.
func (p *Plan) Place(t probe.Target) (place uint64, ok bool) {
	i, ok := p.Space.Index(t)
	if !ok {
		return 0, false
	}
	return p.order.placeOf(i), true
}

// A Span is the places from Lo up to but without Hi: whole blocks, so whole hosts.
type Span struct{ Lo, Hi uint64 }

// Spans cuts the plan into spans of at most n targets, or one block where a block is larger.
func (p *Plan) Spans(n uint64) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		for lo := uint64(0); lo < p.Space.Len(); {
			limit := p.Space.Len()
			if n < limit-lo {
				limit = lo + n
			}
			hi := p.order.nextCut(lo, limit)
			if !yield(Span{lo, hi}) {
				return
			}
			lo = hi
		}
	}
}

// hosts yields the address of each host of a span once.
func (p *Plan) hosts(span Span) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for place, hosts := range p.order.eachBlock(span) {
			for slot := range hosts {
				if !yield(p.At(place + slot).Addr()) {
					return
				}
			}
		}
	}
}

// A Prober sends probes and reports what came of them.
//
// It reports each probe it was given at most once: an answer, what it could not send
// (probe.Unsent), and, unless the plan says Untold, silence (Reason NoResponse). It calls
// report from one goroutine at a time. It returns when due has no more and the last answer
// has had time to arrive, or when ctx ends, with ctx's error.
type Prober interface {
	Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error
}

// A Sink takes the answers as they come: as many at once as have come while it was busy, so
// that it can write them together. It must not keep the slice. An error ends the scan.
type Sink interface {
	Put(answers []probe.Result) error
}
