package scan

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sonde/internal/loss"
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

	Missed      loss.Estimate
	GaveUp      uint64 // hosts whose time (Plan.HostTimeout) was over; what is Undecided of them was not asked to the end
	Limited     uint64 // hosts that were seen to limit their refusals: their silence proves nothing
	Middleboxes uint64 // hosts for which something else accepts: what it accepted counts as OpenFiltered
	Skipped     uint64 // hosts that were left out because they did not answer when asked whether they are there

	queue  *queue // of one span; nil in a sum
	waited bool   // the span ran to its end, so that silence is a verdict
}

func summarise(q *queue, waited bool) Summary {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.ledger.counts
	s := Summary{
		Targets: q.span.Hi - q.span.Lo, Hosts: q.plan.countHosts(q.span), Probes: q.probes, Elapsed: q.elapsed(),
		Answered: c[filtered] + c[closed] + c[open],
		Open:     c[open], Closed: c[closed], Filtered: c[filtered],
		LocalErr: q.localErr, queue: q, waited: waited,
	}
	for _, r := range q.hosts.byRank {
		if r.limited {
			s.Limited++
		}
		if r.gaveUp {
			s.GaveUp++
		}
	}
	s.Missed = q.estimate()
	s.countSilent(c[silent])
	s.Complete = waited && s.Undecided == 0
	return s
}

// countSilent parts the silent targets by what their silence means.
func (s *Summary) countSilent(n uint64) {
	q := s.queue
	if !s.waited || q.unproved {
		s.Undecided = n
		return
	}
	if s.GaveUp == 0 && q.ledger.unsent == nil && !q.plan.Space.Has(probe.UDP) {
		s.Unanswered, s.Filtered = n, s.Filtered+n
		return
	}
	for i := range s.Targets {
		if q.ledger.answer(i) != silent {
			continue
		}
		switch t := q.plan.At(q.span.Lo + i); {
		case q.undecided(i, t.Addr()):
			s.Undecided++
			continue
		case t.Proto == probe.UDP:
			s.OpenFiltered++
		default:
			s.Filtered++
		}
		s.Unanswered++
	}
}

// undecided reports whether the silence of target i, of a span that is over, is no verdict.
func (q *queue) undecided(i uint64, addr netip.Addr) bool {
	if q.ledger.isUnsent(i) {
		return true
	}
	r := q.hosts.get(addr)
	return r != nil && r.gaveUp
}

// Add returns the sum of two spans, or plans, that ran one after the other.
func (s Summary) Add(t Summary) Summary {
	sum := Summary{
		Targets: s.Targets + t.Targets, Hosts: s.Hosts + t.Hosts, Probes: s.Probes + t.Probes, Answered: s.Answered + t.Answered,
		Open: s.Open + t.Open, Closed: s.Closed + t.Closed, Filtered: s.Filtered + t.Filtered, OpenFiltered: s.OpenFiltered + t.OpenFiltered,
		Unanswered: s.Unanswered + t.Unanswered, Undecided: s.Undecided + t.Undecided,
		Elapsed: s.Elapsed + t.Elapsed, Complete: s.Complete && t.Complete, LocalErr: s.LocalErr,
		Missed: s.Missed.Add(t.Missed), GaveUp: s.GaveUp + t.GaveUp, Limited: s.Limited + t.Limited,
		Middleboxes: s.Middleboxes + t.Middleboxes, Skipped: s.Skipped + t.Skipped,
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
	Reason    probe.Reason // of the silence: NoResponse, RateLimited or NoNeighbor
	Attempts  uint8        // how often the silent were asked; 0 if that is not known
	Undecided target.Ports // those without a verdict: not asked, not waited for, or not sent
	GaveUp    bool         // its time was over
	Middlebox bool         // something else accepts for it
	PTR       string       // its name by reverse lookup, if that was asked for and found
}

// EachHost yields the hosts of a span in ascending order. It is for the summary that Run
// returned, not for a sum.
func (s *Summary) EachHost() iter.Seq[Host] {
	return s.each(func(yield func(uint64) bool) {
		space := s.queue.plan.Space
		for addr := range s.queue.plan.hosts(s.queue.span) {
			if rank, _ := space.Rank(addr); !yield(rank) {
				return
			}
		}
	})
}

// EachHeard yields those of EachHost that anything is known of.
func (s *Summary) EachHeard() iter.Seq[Host] {
	return s.each(func(yield func(uint64) bool) { maps.Keys(s.queue.hosts.byRank)(yield) })
}

// each yields the hosts with some ranks in ascending order.
func (s *Summary) each(ranks iter.Seq[uint64]) iter.Seq[Host] {
	return func(yield func(Host) bool) {
		if s.queue == nil {
			return
		}
		for _, rank := range slices.Sorted(ranks) {
			if !yield(s.host(s.queue.plan.Space.Host(rank))) {
				return
			}
		}
	}
}

func (s *Summary) host(addr netip.Addr) Host {
	q := s.queue
	r := q.hosts.get(addr)
	h := Host{Addr: addr, Reason: r.reason(), Attempts: q.pass}
	if r != nil {
		h.GaveUp, h.Middlebox = r.gaveUp, r.middlebox
	}
	var asked, mute, undecided target.Ports
	ports := q.plan.Space.Ports(addr)
	if r == nil && q.whole && s.waited && !q.unproved && q.ledger.unsent == nil { // most of a wide scan are such
		h.Asked, h.Silent = ports, ports
		return h
	}
	each := func(keep func(i uint64) bool) target.Ports {
		return ports.Where(func(proto probe.Proto, port uint16) bool {
			place, _ := q.plan.Place(probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: proto})
			return place >= q.span.Lo && place < q.span.Hi && keep(place-q.span.Lo)
		})
	}
	if asked = ports; !q.whole {
		asked = each(func(uint64) bool { return true })
		ports = asked
	}
	mute = each(func(i uint64) bool { return q.ledger.answer(i) == silent })
	ports = mute
	if mute.Len() > 0 {
		undecided = each(func(i uint64) bool { return !s.waited || q.unproved || q.undecided(i, addr) })
	}
	h.Asked, h.Undecided, h.Silent = asked, undecided, mute.Without(undecided)
	return h
}
