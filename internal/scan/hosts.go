package scan

import (
	"iter"
	"net/netip"
	"time"

	"sonde/internal/probe"
	"sonde/internal/target"
)

// A record is what a span has learnt of one host. There is one for each host that was heard of, so that
// silence costs no memory; with Plan.HostTimeout for each host that was asked.
type record struct {
	openTCP  uint32
	answered uint64
	ways     [2]*way // by TCP and by UDP; nil where there is nothing to keep
	limited  bool    // it limits its refusals
	nobody   bool    // no neighbour has its address

	begun  time.Duration // its first probe, on the queue's clock; with Plan.HostTimeout only
	gaveUp bool

	middlebox bool

	open, other tally // targets first heard: ports that are open, and others
}

// A tally counts by pass. Most hosts are heard on the first two only.
type tally struct {
	early [2]uint32 // on passes 1 and 2
	late  []uint32  // from pass 3
}

func (t *tally) add(pass uint8) {
	if int(pass) <= len(t.early) {
		t.early[pass-1]++
		return
	}
	k := int(pass) - len(t.early)
	for len(t.late) < k {
		t.late = append(t.late, 0)
	}
	t.late[k-1]++
}

// addTo adds up what was counted on each pass. A run that was resumed may have heard more passes than it counts: the last then
// stands for all behind it.
func (t *tally) addTo(heard []uint64) {
	for i, n := range t.early {
		heard[min(i, len(heard)-1)] += uint64(n)
	}
	for i, n := range t.late {
		heard[min(len(t.early)+i, len(heard)-1)] += uint64(n)
	}
}

func (t *tally) sum() (n uint64) {
	var all [1]uint64
	t.addTo(all[:])
	return all[0]
}

// A way is one protocol to a host.
type way struct {
	answered uint64
	refused  [3]refusal // the last targets refused, by ICMP rather than by a reset; to be asked again as controls
	refusals int
	controls controls
}

// A refusal is a target that was refused.
type refusal struct {
	target probe.Target
	icmp   bool
}

// records are the hosts of a span that there is something to say of, by their rank in the space.
type records struct {
	space  target.Space
	byRank map[uint64]*record
	spare  []record
}

func newRecords(space target.Space) records {
	return records{space: space, byRank: map[uint64]*record{}}
}

// of returns the record of a host of the space, made where there is none.
func (h *records) of(addr netip.Addr) *record {
	rank, _ := h.space.Rank(addr)
	return h.ranked(rank)
}

// ranked is of for a rank.
func (h *records) ranked(rank uint64) *record {
	r := h.byRank[rank]
	if r == nil {
		if len(h.spare) == 0 {
			h.spare = make([]record, 256)
		}
		r, h.spare = &h.spare[0], h.spare[1:]
		h.byRank[rank] = r
	}
	return r
}

// get returns the record of a host, nil where there is none.
func (h *records) get(addr netip.Addr) *record {
	rank, ok := h.space.Rank(addr)
	if !ok {
		return nil
	}
	return h.byRank[rank]
}

// all yields the hosts with their records.
func (h *records) all() iter.Seq2[netip.Addr, *record] {
	return func(yield func(netip.Addr, *record) bool) {
		for rank, r := range h.byRank {
			if !yield(h.space.Host(rank), r) {
				return
			}
		}
	}
}

// heard notes the first answer of a target. controlled says that there may be controls to be asked of its host.
func (r *record) heard(res *probe.Result, pass uint8, controlled bool) {
	r.answered++
	if res.State == probe.Open {
		r.open.add(pass)
	} else {
		r.other.add(pass)
	}
	if !controlled {
		return
	}
	w := r.way(res.Target.Proto)
	w.answered++
	if res.State == probe.Closed || res.State == probe.Filtered {
		w.refuse(refusal{res.Target, res.ICMP != probe.ICMP{}})
	}
}

// way returns what is known of one protocol to the host.
func (r *record) way(proto probe.Proto) *way {
	w := &r.ways[0]
	if proto == probe.UDP {
		w = &r.ways[1]
	}
	if *w == nil {
		*w = &way{}
	}
	return *w
}

// refuse keeps a refusal as a control. Hosts limit ICMP errors far more often than resets, so one of those is
// never given up for a reset.
func (w *way) refuse(f refusal) {
	slot := &w.refused[w.refusals%len(w.refused)]
	if slot.icmp && !f.icmp {
		return
	}
	*slot = f
	w.refusals++
}

// isControl reports whether an answer can only be to a control of a pass: its target had refused, and was asked again.
func (r *record) isControl(res *probe.Result, pass uint8) bool {
	w := r.ways[0]
	if w == nil || res.Target.Proto == probe.UDP || res.Attempt != pass || w.controls.pass != pass || w.controls.back >= w.controls.sent {
		return false
	}
	for _, f := range w.refused {
		if f.target == res.Target {
			return true
		}
	}
	return false
}

// Controls are probes to targets that refused before, asked again among those that are silent. Where the
// controls are silent too, the host (or who refuses for it) limits how often it refuses, and the silence of the others proves nothing.
type controls struct {
	pass   uint8
	silent uint64 // targets of the host that were silent when the pass began
	handed uint64 // of them, asked so far
	sent   uint64 // controls of this pass
	back   uint64 // those of them that were answered

	asked, answered uint64 // controls of all passes
}

const (
	mostControls = 8 // of a host in a pass
	fewestSilent = 8 // TCP targets of a host that it takes for controls: resets are seldom limited
	fewestLost   = 6 // TCP controls that it takes for a verdict
	fewestUDP    = 2 // UDP controls of a pass, and lost ones for a verdict: nearly everybody limits ICMP errors
)

// control returns the target to be asked again after one more silent one of the host, if one falls due: they are
// spread over the pass, the last after its last.
func (w *way) control(pass uint8, proto probe.Proto, targets uint64) (probe.Target, bool) {
	c := &w.controls
	if c.pass != pass {
		c.pass, c.silent, c.handed, c.sent, c.back = pass, targets-min(targets, w.answered), 0, 0, 0
	}
	c.handed++
	most := uint64(mostControls)
	if proto == probe.UDP { // each costs the host an error that it might have sent about another port
		most = min(mostControls, max(fewestUDP, c.silent/8))
	}
	if w.refusals == 0 || proto != probe.UDP && c.silent < fewestSilent || c.sent >= min(most, c.handed*most/max(1, c.silent)) {
		return probe.Target{}, false
	}
	t := w.refused[int(c.sent)%min(w.refusals, len(w.refused))].target
	c.sent++
	c.asked++
	return t, true
}

// isLimited says what the controls mean so far: as many are lost as chance takes, 45 of 100 and six at the least, from a path that
// loses a fifth of all packets in one scan of two hundred. More would not do: a host that is asked more slowly, because it loses, answers half.
func (w *way) isLimited(fewest uint64, share float64) bool {
	if w == nil {
		return false
	}
	lost := w.controls.asked - min(w.controls.asked, w.controls.answered)
	return lost >= fewest && float64(lost) >= share*float64(w.controls.asked)
}

// judge says whether the host limits its refusals.
func (r *record) judge() {
	r.limited = r.limited || r.ways[0].isLimited(fewestLost, 0.45) || r.ways[1].isLimited(fewestUDP, 0.5)
}

// owes reports whether UDP controls of a pass were lost: then silence was no answer, and asking again, more slowly, brings some.
func (r *record) owes(pass uint8) bool {
	if r.ways[1] == nil {
		return false
	}
	c := &r.ways[1].controls
	return c.pass == pass && c.sent > c.back && c.silent > 0
}

// reason is what the silence of a host's targets means.
func (r *record) reason() probe.Reason {
	switch {
	case r == nil:
		return probe.NoResponse
	case r.limited:
		return probe.RateLimited
	case r.nobody && r.answered == 0:
		return probe.NoNeighbor
	}
	return probe.NoResponse
}

// mayControl reports whether any host of a space has so many targets that controls are asked of it.
func mayControl(space target.Space) bool {
	for g := range space.Sizes() {
		if p := space.GroupPorts(g); p.Count(probe.TCP) > fewestSilent || p.Count(probe.UDP) > 0 {
			return true
		}
	}
	return false
}

// targetsOf counts the targets of a host.
func targetsOf(space target.Space, addr netip.Addr) uint64 { return space.Ports(addr).Len() }

// targetsBy counts the targets of a host by one protocol.
func targetsBy(space target.Space, addr netip.Addr, proto probe.Proto) uint64 {
	return space.Ports(addr).Count(proto)
}
