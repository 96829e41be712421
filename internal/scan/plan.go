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
	"maps"
	"math/bits"
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
	Timeout  time.Duration // how long one probe waits for its answer, at the most
	// HostTimeout bounds the time from the first probe of a host to its last; 0: no bound. What was
	// found of it until then is kept, the rest is undecided.
	HostTimeout time.Duration
	// Recall is the share of what would answer that is to be found, below 1: passes go on, as far as Attempts
	// allows, until what was heard shows that it is reached. 0: the rule of Attempts alone.
	Recall float64

	perHost float64 // see Spread
	order   *order
}

// NewPlan returns the plan that probes space in the order that seed names. The caller sets the rest.
func NewPlan(space target.Space, seed uint64) Plan {
	return Plan{Space: space, Seed: seed, order: newOrder(space.Sizes(), seed, 1)}
}

// spreadHosts is how many hosts a block holds at least when none may be asked fast: all of them together are.
const spreadHosts = 1 << 12

// Spread returns the plan that asks no host more often than so many times a second. Its order is another: a block of
// few hosts would take too long.
func (p Plan) Spread(perSecond float64) Plan {
	p.perHost = perSecond
	p.order = newOrder(p.Space.Sizes(), p.Seed, spreadHosts)
	return p
}

// longestGap is the longest time from one probe of a host to the next: beyond it times could not be added up.
const longestGap = 365 * 24 * time.Hour

// gap is the time from one probe of a host to the next at the least.
func (p *Plan) gap() time.Duration {
	if p.perHost <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/p.perHost, float64(longestGap)))
}

// At returns the target that is probed at a place, for places below Space.Len.
func (p *Plan) At(place uint64) probe.Target { return p.Space.At(p.order.at(place)) }

// Place returns the place at which t is probed, false if t is no target of the plan.
func (p *Plan) Place(t probe.Target) (place uint64, ok bool) {
	place, _, ok = p.locate(t)
	return place, ok
}

// locate is Place and the rank of t's host in the space.
func (p *Plan) locate(t probe.Target) (place, rank uint64, ok bool) {
	i, rank, ok := p.Space.Locate(t)
	if !ok {
		return 0, 0, false
	}
	return p.order.placeOf(i), rank, true
}

// A Span is the places from Lo up to but without Hi.
type Span struct{ Lo, Hi uint64 }

// Shard returns part i of n of the plan, counted from 1. The parts of a plan are disjoint, they are
// together the whole, and their sizes differ by one target at the most.
func (p *Plan) Shard(i, n uint64) Span {
	cut := func(k uint64) uint64 {
		hi, lo := bits.Mul64(p.Space.Len(), k)
		q, _ := bits.Div64(hi, lo, n)
		return q
	}
	return Span{cut(i - 1), cut(i)}
}

// Whole returns all places of the plan.
func (p *Plan) Whole() Span { return Span{0, p.Space.Len()} }

// Spans cuts a part of the plan into spans of at most n targets, or one block where a block is larger. They
// begin and end with a block, so with whole hosts, but where the part itself cuts one.
func (p *Plan) Spans(part Span, n uint64) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		for lo := part.Lo; lo < part.Hi; {
			limit := part.Hi
			if n < limit-lo {
				limit = lo + n
			}
			hi := min(p.order.nextCut(p.order.blockStart(lo), limit), part.Hi)
			if !yield(Span{lo, hi}) {
				return
			}
			lo = hi
		}
	}
}

// isWhole reports whether a span holds whole hosts only.
func (p *Plan) isWhole(span Span) bool {
	begins := func(place uint64) bool { return place == p.Space.Len() || p.order.blockStart(place) == place }
	return begins(span.Lo) && begins(span.Hi)
}

// hosts yields the address of each host of a span once.
func (p *Plan) hosts(span Span) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for block, whole := range p.order.eachBlock(span) {
			hosts := p.slots(block, whole)
			for addr := range hosts {
				if !yield(addr) {
					return
				}
			}
		}
	}
}

// slots yields the hosts of a block, or of the part of one that a span cut off.
func (p *Plan) slots(block Span, whole uint64) iter.Seq[netip.Addr] {
	if whole > 0 { // the first round asks each of them, in consecutive places
		return func(yield func(netip.Addr) bool) {
			for slot := range whole {
				if !yield(p.At(block.Lo + slot).Addr()) {
					return
				}
			}
		}
	}
	hosts := map[netip.Addr]struct{}{}
	for place := block.Lo; place < block.Hi; place++ {
		hosts[p.At(place).Addr()] = struct{}{}
	}
	return maps.Keys(hosts)
}

// countHosts counts the hosts of a span.
func (p *Plan) countHosts(span Span) (n uint64) {
	for block, whole := range p.order.eachBlock(span) {
		if n += whole; whole == 0 {
			for range p.slots(block, whole) {
				n++
			}
		}
	}
	return n
}

// A Prober sends probes and reports what came of them.
//
// It reports each probe it was given at most once: an answer, what it could not send
// (probe.Unsent), and, unless it is Forgetful, silence (Reason NoResponse). It calls
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
