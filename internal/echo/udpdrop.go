package echo

import (
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sonde/internal/serve"
)

// Totals are the datagrams that one UDP socket took in and sent back, in all.
type Totals struct {
	Local   netip.AddrPort
	In, Out uint64
}

// UDPCounts are what servers have done so far over UDP: one ServeUDP, or several together. They may be read at any time.
// The zero value is ready. What the kernel has dropped is known a second later at the latest.
type UDPCounts struct {
	In, Out     atomic.Uint64 // datagrams read, and sent
	KernelDrops atomic.Uint64 // that came and were thrown away before they could be read; not in In
	dropped     [reasons]atomic.Uint64
}

// EachDropped yields how many datagrams were not echoed, for each reason. Overrun is KernelDrops.
func (c *UDPCounts) EachDropped() iter.Seq2[Why, uint64] {
	return func(yield func(Why, uint64) bool) {
		for why := echoed + 1; why < reasons; why++ {
			if !yield(why, c.dropped[why].Load()) {
				return
			}
		}
	}
}

// A Drop is a number of datagrams that were not echoed. The first is told at once, the others
// once per serve.NoticeInterval.
type Drop struct {
	Why   Why
	Count int
	Peer  netip.AddrPort // the last of them came from here; not valid if nobody is known
	Err   error          // with Unsent and Unread: the system's reason; with Overrun: why the queue is short, if that can be helped
}

// Why says why a datagram was not echoed.
type Why uint8

// The reasons.
const (
	echoed    Why = iota
	ToMany        // sent to a broadcast or multicast address (RFC 1122 section 4.1.3.6)
	BadSource     // from an address that nobody can be answered at
	OwnSource     // from our own address and port
	LowPort       // from a port below 1024
	Denied        // Access does not permit the source
	TooMany       // its network's rate is spent
	Looping       // the peer returns what it is sent, again and again
	Truncated     // longer than the buffer
	Unsent        // the system would not send it
	Unread        // the system would not hand it over
	Overrun       // the system threw it away, since its queue was full
	reasons
)

var whys = [reasons]struct{ word, text string }{
	echoed:    {"echoed", "echoed"},
	ToMany:    {"to-many", "sent to a broadcast or multicast address"},
	BadSource: {"bad-source", "with a source that cannot be answered"},
	OwnSource: {"own-source", "with our own address as source"},
	LowPort:   {"low-port", "from a port below 1024"},
	Denied:    {"denied", "from an address that is not allowed"},
	TooMany:   {"rate", "over the rate of their network"},
	Looping:   {"loop", "from a peer that returns what it is sent, muted for a second"},
	Truncated: {"truncated", "longer than the buffer"},
	Unsent:    {"unsent", "that could not be sent back"},
	Unread:    {"unread", "that could not be read"},
	Overrun:   {"overrun", "that the kernel dropped, coming faster than they are read"},
}

// String says it in words that fit after "datagrams".
func (w Why) String() string { return whys[w].text }

// Word says it in one word, as a metric's label has it.
func (w Why) Word() string { return whys[w].word }

// notices tell of drops, each reason at once and then once per serve.NoticeInterval. All loops share them.
type notices struct {
	told func(Drop) // may be nil

	mu    sync.Mutex
	drops [reasons]struct {
		tally serve.Tally
		last  Drop
	}
	timer *time.Timer // nil until something waits
	ended bool
}

func (n *notices) add(d Drop, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := &n.drops[d.Why]
	w.last = d
	n.tell(d.Why, w.tally.Add(now, d.Count))
	if wake := w.tally.Wake(); !wake.IsZero() && n.timer == nil {
		n.timer = time.AfterFunc(wake.Sub(now), n.due)
	}
}

// due tells what has waited for its interval's end, and comes again if more waits.
func (n *notices) due() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	now := time.Now()
	var wake time.Time
	for why := range n.drops {
		w := &n.drops[why]
		n.tell(Why(why), w.tally.Due(now))
		wake = earlier(wake, w.tally.Wake())
	}
	if n.timer = nil; !wake.IsZero() {
		n.timer = time.AfterFunc(wake.Sub(now), n.due)
	}
}

// end tells what still waits.
func (n *notices) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
	if n.timer != nil {
		n.timer.Stop()
	}
	for why := range n.drops {
		n.tell(Why(why), n.drops[why].tally.Rest())
	}
}

func (n *notices) tell(why Why, count int) {
	if count > 0 && n.told != nil {
		d := n.drops[why].last
		d.Count = count
		n.told(d)
	}
}
