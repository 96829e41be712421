package udp

import (
	"container/heap"
	"net/netip"
	"time"

	"sonde/internal/pace"
	"sonde/internal/probe"
)

// A host is one address: what is in flight to it and what waits for it, and what it has taught.
type host struct {
	addr    netip.Addr // it answers from
	rtt     pace.RTT
	slowest time.Duration // of its answers
	budget  budget
	flying  int
	inPipe  int // those of them that an answer is still expected for
	parked  []probe.Probe
	late    map[uint16]probe.Result // by port: what came when nothing was in flight

	queued bool      // it is in one of the queue's lists
	at     time.Time // in the second: when its turn comes
}

// paced reports whether a probe spends the host's budget.
func (h *host) paced(p probe.Probe) bool { return p.Attempt > 1 && h.budget.known() }

// pipe is for how long a probe counts as out: while its answer would most likely come, but no longer than curiosity. So a host
// is asked 640 times a second at least, however long its silence is waited for.
func (h *host) pipe() time.Duration {
	if !h.rtt.Known() {
		return curiosity
	}
	return min(max(2*h.slowest, shortestPipe), curiosity)
}

// observe takes in how long an answer took.
func (h *host) observe(rtt time.Duration) {
	h.rtt.Observe(rtt)
	h.slowest = max(h.slowest, rtt)
}

// next returns when to look at a flight again that has that age: when it leaves the pipe, when its host may be known by now,
// when its time is over.
func (h *host) next(f *flight, age, ceiling time.Duration) time.Duration {
	next := h.rtt.Patience(f.probe.Attempt, ceiling)
	if !h.rtt.Known() {
		next = min(next, max(2*age, curiosity))
	}
	if f.inPipe {
		next = min(next, h.pipe())
	}
	return next
}

// isIdle reports whether the host can be forgotten without harm to what is under way.
func (h *host) isIdle() bool { return h.flying == 0 && len(h.parked) == 0 }

// isBlank reports whether the host has taught nothing.
func (h *host) isBlank() bool { return !h.rtt.Known() && !h.budget.known() && len(h.late) == 0 }

// keep keeps a late answer.
func (h *host) keep(port uint16, r probe.Result) {
	if r.State == probe.Unsent || r.Reason.Silent() || len(h.late) >= mostLate {
		return
	}
	if h.late == nil {
		h.late = map[uint16]probe.Result{}
	}
	h.late[port] = r
}

// takeLate returns what came of an earlier probe when that was over. A control does not want to know: it asks for a refusal now.
func (h *host) takeLate(p probe.Probe) (probe.Result, bool) {
	late, ok := h.late[p.Port()]
	delete(h.late, p.Port())
	return late, ok && p.Attempt > 1 && !p.Control
}

// whoAnswers returns the address that an answer comes from: the unspecified address stands for loopback (ip(7)).
func whoAnswers(asked netip.Addr) netip.Addr {
	switch asked {
	case netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return asked
}

// A queue is the hosts that have probes waiting and nothing in flight that holds those up: in turn those that may be asked
// now, by time those whose budget allows it later. Other hosts are queued when a flight of theirs ends.
type queue struct {
	turn  []*host
	later hostHeap
}

func (q *queue) add(h *host, at, now time.Time) {
	h.queued, h.at = true, at
	if at.After(now) {
		heap.Push(&q.later, h)
		return
	}
	q.turn = append(q.turn, h)
}

// wake gives those a turn whose time has come.
func (q *queue) wake(now time.Time) {
	for len(q.later) > 0 && !q.later[0].at.After(now) {
		q.turn = append(q.turn, heap.Pop(&q.later).(*host))
	}
}

// next takes the host whose turn it is.
func (q *queue) next() *host {
	h := q.turn[0]
	q.turn[0] = nil
	q.turn = q.turn[1:]
	h.queued = false
	return h
}

type hostHeap []*host

func (h hostHeap) Len() int           { return len(h) }
func (h hostHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h hostHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *hostHeap) Push(x any) { *h = append(*h, x.(*host)) }

// Pop implements heap.Interface.
func (h *hostHeap) Pop() any {
	end := len(*h) - 1
	last := (*h)[end]
	(*h)[end] = nil
	*h = (*h)[:end]
	return last
}
