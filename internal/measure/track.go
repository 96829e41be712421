package measure

import "time"

// Counts are what became of probes. Each ends as one of the first five, so that
//
//	Probes = Answered + Late + Lost + Corrupt + Unsent + Pending
//
// at any time; the others are told beside.
type Counts struct {
	Probes   uint64 // that were to be sent
	Answered uint64 // in time and whole
	Late     uint64 // whole, after the time-out
	Lost     uint64 // nothing came
	Corrupt  uint64 // what came was damaged
	Unsent   uint64 // there was no connection to send it on, or this machine could not send
	Pending  uint64 // in flight, or held up on our side, and not yet timed out

	Doubled   uint64 // replies to what had been answered already
	Reordered uint64 // replies that came after that to a later probe (RFC 4737 section 3.3)
	Foreign   uint64 // what came and was nothing of ours
	Truncated uint64 // of the corrupt: how many came short
	Refused   uint64 // refusals that came back (ICMP, UDP only)
	Broken    uint64 // connections that ended before their time
}

// Heard is how many probes came back somehow.
func (c Counts) Heard() uint64 { return c.Answered + c.Late + c.Corrupt }

// Sent is how many probes were sent and have a fate. What is pending is neither lost nor not.
func (c Counts) Sent() uint64 { return c.Probes - c.Pending - c.Unsent }

// Loss is the share of those sent of which nothing came back, from 0 to 1.
func (c Counts) Loss() float64 {
	if c.Sent() == 0 {
		return 0
	}
	return float64(c.Lost) / float64(c.Sent())
}

// Failed is the share of those due that did not come back whole and in time: lost, late, corrupt and unsent. From 0 to 1.
func (c Counts) Failed() float64 {
	due := c.Probes - c.Pending
	if due == 0 {
		return 0
	}
	return float64(due-c.Answered) / float64(due)
}

func (c *Counts) add(o Counts) {
	c.Probes += o.Probes
	c.Answered += o.Answered
	c.Late += o.Late
	c.Lost += o.Lost
	c.Corrupt += o.Corrupt
	c.Unsent += o.Unsent
	c.Pending += o.Pending
	c.Doubled += o.Doubled
	c.Reordered += o.Reordered
	c.Foreign += o.Foreign
	c.Truncated += o.Truncated
	c.Refused += o.Refused
	c.Broken += o.Broken
}

// Fate is what became of a probe, or what a reply was.
type Fate uint8

// The fates. Doubled is one of a reply only: its probe has another.
const (
	inFlight Fate = iota
	Answered
	Late
	Lost
	Corrupt
	Doubled
	Unasked // a reply to what was never sent: it says a number of ours that is still to come
	Unsent  // not sent: there was no connection, or this machine could not
)

// String is the fate in one word, as JSON has it.
func (f Fate) String() string {
	return [...]string{"pending", "answered", "late", "lost", "corrupt", "doubled", "unasked", "unsent"}[f]
}

// A slot is what is remembered of a probe. Times are since the run began.
type slot struct {
	intended, sent time.Duration
	fate           Fate
}

// A tracker accounts for the probes of one connection, which are numbered from 0. It remembers as many as are in
// flight and at least as many again, so that what comes late or twice is known for what it is. It has one owner
// at a time.
type tracker struct {
	Counts // Pending: those in flight

	timeout time.Duration
	slots   []slot // number n is at n modulo their number, a power of two
	next    uint64 // number of the next probe
	tail    uint64 // none before it is in flight
	high    uint64 // the highest number heard, and one

	jitter  float64 // RFC 3550 section 6.4.1, in nanoseconds
	transit time.Duration
	heard   uint64 // replies that the jitter is made of
}

const leastSlots = 64

// newTracker returns one that has room for so many in flight without growing.
func newTracker(timeout time.Duration, inFlight int) tracker {
	n := leastSlots
	for n < 2*inFlight {
		n *= 2
	}
	return tracker{timeout: timeout, slots: make([]slot, n)}
}

func (t *tracker) at(seq uint64) *slot { return &t.slots[seq&uint64(len(t.slots)-1)] }

// send notes the next probe and returns its number.
func (t *tracker) send(intended, sent time.Duration) uint64 {
	for t.tail < t.next && t.at(t.tail).fate != inFlight {
		t.tail++
	}
	if t.next-t.tail >= uint64(len(t.slots)/2) {
		t.grow()
	}
	seq := t.next
	*t.at(seq) = slot{intended: intended, sent: sent}
	t.next++
	t.Probes++
	t.Pending++
	return seq
}

func (t *tracker) grow() {
	old := *t
	t.slots = make([]slot, 2*len(old.slots))
	for seq := t.oldest(len(old.slots)); seq < t.next; seq++ {
		*t.at(seq) = *old.at(seq)
	}
}

// oldest is the first of the last n numbers.
func (t *tracker) oldest(n int) uint64 {
	if t.next < uint64(n) {
		return 0
	}
	return t.next - uint64(n)
}

// skip passes over n numbers that were never sent.
func (t *tracker) skip(n uint64) {
	for range min(n, uint64(len(t.slots))) {
		*t.at(t.next) = slot{fate: Unasked}
		t.next++
		n--
	}
	t.next += n
	t.tail = t.next
}

// reply notes a payload that came back, whole or damaged. It returns what it was, and what is known of its probe.
func (t *tracker) reply(seq uint64, now time.Duration, d *Damage) (Fate, slot) {
	if seq >= t.next {
		t.Foreign++
		return Unasked, slot{}
	}
	reordered := seq+1 < t.high
	t.high = max(t.high, seq+1)
	fate, s := t.settle(seq, now, d)
	if reordered && fate != Doubled { // RFC 4737 section 3.3 leaves duplicates out
		t.Reordered++
	}
	return fate, s
}

// settle gives the probe of a reply its fate. The slot of one that is no longer remembered is empty.
func (t *tracker) settle(seq uint64, now time.Duration, d *Damage) (Fate, slot) {
	if seq < t.oldest(len(t.slots)) { // too long ago to know; it is not in flight
		return t.forgotten(), slot{}
	}
	s := t.at(seq)
	fate := t.judge(s.fate, now-s.sent, d)
	switch fate {
	case Doubled:
		t.Doubled++
		return fate, *s
	case Corrupt:
		t.Corrupt++
		if d.Kind == Truncated {
			t.Truncated++
		}
	case Late:
		t.Late++
	default:
		t.Answered++
	}
	if s.fate == Lost {
		t.Lost--
	} else {
		t.Pending--
	}
	s.fate = fate
	if d == nil {
		t.jit(now - s.sent)
	}
	return fate, *s
}

func (t *tracker) judge(before Fate, took time.Duration, d *Damage) Fate {
	switch {
	case before != inFlight && before != Lost:
		return Doubled
	case d != nil:
		return Corrupt
	case took > t.timeout:
		return Late
	}
	return Answered
}

// forgotten takes a reply to a probe that is no longer remembered for the late one of a lost, if there is one.
func (t *tracker) forgotten() Fate {
	if t.Lost == 0 {
		t.Doubled++
		return Doubled
	}
	t.Lost--
	t.Late++
	return Late
}

// jit takes a transit time into the jitter. RFC 3550's difference of transit times is that of round trips here: only one
// clock is known.
func (t *tracker) jit(transit time.Duration) {
	if t.heard++; t.heard > 1 {
		d := float64(transit - t.transit)
		t.jitter += (max(d, -d) - t.jitter) / 16
	}
	t.transit = transit
}

// expire gives up what is silent since the time-out, and calls lost for each.
func (t *tracker) expire(now time.Duration, lost func(seq uint64, s slot)) {
	for ; t.tail < t.next; t.tail++ {
		s := t.at(t.tail)
		if s.fate != inFlight {
			continue
		}
		if now-s.sent <= t.timeout {
			return
		}
		t.lose(s)
		lost(t.tail, *s)
	}
}

// unsend takes back the probe that was sent last: it did not leave this machine.
func (t *tracker) unsend() uint64 {
	s := t.at(t.next - 1)
	if s.fate != inFlight {
		return t.next - 1
	}
	s.fate = Unasked
	t.Pending--
	t.Unsent++
	return t.next - 1
}

// refuse gives up the oldest in flight, which a refusal is most likely about. If it is not, its reply still counts.
func (t *tracker) refuse(lost func(seq uint64, s slot)) {
	for seq := t.tail; seq < t.next; seq++ {
		if s := t.at(seq); s.fate == inFlight {
			t.lose(s)
			lost(seq, *s)
			return
		}
	}
}

func (t *tracker) lose(s *slot) {
	s.fate = Lost
	t.Lost++
	t.Pending--
}

// abandon gives up all that is in flight: its connection is gone.
func (t *tracker) abandon(lost func(seq uint64, s slot)) {
	for ; t.tail < t.next; t.tail++ {
		if s := t.at(t.tail); s.fate == inFlight {
			t.lose(s)
			lost(t.tail, *s)
		}
	}
}
