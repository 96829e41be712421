package scan

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"sonde/internal/probe"
	"sonde/internal/target"
)

// A Summary is what came of a span, or, added up, of a plan.
//
// Open + Closed + Filtered + OpenFiltered + Undecided = Targets. Undecided is 0 in a complete
// scan: it counts what an interruption or a lack of ours (LocalErr) left without a verdict.
type Summary struct {
	Targets      uint64
	Hosts        uint64
	Probes       uint64 // probes tried
	Answered     uint64
	Open         uint64
	Closed       uint64
	Filtered     uint64 // answered so, or silent
	OpenFiltered uint64
	Unanswered   uint64 // the silent part of Filtered and OpenFiltered
	Undecided    uint64
	Elapsed      time.Duration
	Complete     bool
	LocalErr     error // the first thing of ours that kept a probe from being sent

	queue  *queue // of one span; nil in a sum
	waited bool   // the span ran to its end, so that silence is a verdict
}

func summarise(q *queue, elapsed time.Duration, waited bool) Summary {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.ledger.counts
	s := Summary{
		Targets: q.span.Hi - q.span.Lo, Hosts: q.plan.order.hosts(q.span), Probes: q.probes, Elapsed: elapsed,
		Answered: c[filtered] + c[closed] + c[open],
		Open:     c[open], Closed: c[closed], Filtered: c[filtered],
		LocalErr: q.localErr, queue: q, waited: waited,
	}
	s.Undecided = c[silent]
	if waited {
		s.Undecided = q.ledger.unsentSilent()
	}
	s.Unanswered = c[silent] - s.Undecided
	s.Filtered += s.Unanswered
	s.Complete = waited && s.Undecided == 0
	return s
}

// Add returns the sum of two spans, or plans, that ran one after the other.
func (s Summary) Add(t Summary) Summary {
	sum := Summary{
		Targets: s.Targets + t.Targets, Hosts: s.Hosts + t.Hosts, Probes: s.Probes + t.Probes, Answered: s.Answered + t.Answered,
		Open: s.Open + t.Open, Closed: s.Closed + t.Closed, Filtered: s.Filtered + t.Filtered, OpenFiltered: s.OpenFiltered + t.OpenFiltered,
		Unanswered: s.Unanswered + t.Unanswered, Undecided: s.Undecided + t.Undecided,
		Elapsed: s.Elapsed + t.Elapsed, Complete: s.Complete && t.Complete, LocalErr: s.LocalErr,
	}
	if sum.LocalErr == nil {
		sum.LocalErr = t.LocalErr
	}
	return sum
}

// A Host is what is left to say of one host of a span when it is over.
type Host struct {
	Addr      netip.Addr
	Asked     target.Ports // all of its ports
	Silent    target.Ports // those that nobody answered for, after every attempt
	Undecided uint64       // those without a verdict: not asked, not waited for, or not sent
}

// EachHost yields the hosts of a span in ascending order. It is for the summary that Run
// returned, not for a sum.
func (s *Summary) EachHost() iter.Seq[Host] {
	return func(yield func(Host) bool) {
		if s.queue == nil {
			return
		}
		plan := s.queue.plan
		var ranks []uint64
		for addr := range plan.hosts(s.queue.span) {
			rank, _ := plan.Space.Rank(addr)
			ranks = append(ranks, rank)
		}
		slices.Sort(ranks)
		for _, rank := range ranks {
			if !yield(s.host(plan.Space.Host(rank))) {
				return
			}
		}
	}
}

func (s *Summary) host(addr netip.Addr) Host {
	q := s.queue
	h := Host{Addr: addr, Asked: q.plan.Space.Ports(addr)}
	h.Silent = h.Asked.Where(func(proto probe.Proto, port uint16) bool {
		place, _ := q.plan.Place(probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: proto})
		i := place - q.span.Lo
		if q.ledger.answer(i) != silent {
			return false
		}
		if !s.waited || q.ledger.isUnsent(i) {
			h.Undecided++
			return false
		}
		return true
	})
	return h
}
