package scan

import (
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
	ways     [2]way // by TCP and by UDP
	limited  bool   // it limits its refusals
	nobody   bool   // no neighbour has its address

	begun  time.Time // its first probe; with Plan.HostTimeout only
	gaveUp bool

	middlebox bool

	// How many targets were first heard on each pass, from pass 1: ports that are open, and others.
	open, other []uint64
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

// records are the hosts of a span that there is something to say of.
type records map[netip.Addr]*record

func (h records) of(addr netip.Addr) *record {
	r := h[addr]
	if r == nil {
		r = &record{}
		h[addr] = r
	}
	return r
}

// heard notes the first answer of a target.
func (r *record) heard(res *probe.Result, pass uint8) {
	r.answered++
	w := r.way(res.Target.Proto)
	w.answered++
	counts := &r.other
	if res.State == probe.Open {
		counts = &r.open
	}
	for len(*counts) < int(pass) {
		*counts = append(*counts, 0)
	}
	(*counts)[pass-1]++
	if res.State == probe.Closed || res.State == probe.Filtered {
		w.refuse(refusal{res.Target, res.ICMP != probe.ICMP{}})
	}
}

// way returns what is known of one protocol to the host.
func (r *record) way(proto probe.Proto) *way {
	if proto == probe.UDP {
		return &r.ways[1]
	}
	return &r.ways[0]
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
	lost := w.controls.asked - min(w.controls.asked, w.controls.answered)
	return lost >= fewest && float64(lost) >= share*float64(w.controls.asked)
}

// judge says whether the host limits its refusals.
func (r *record) judge() {
	r.limited = r.limited || r.ways[0].isLimited(fewestLost, 0.45) || r.ways[1].isLimited(fewestUDP, 0.5)
}

// owes reports whether UDP controls of a pass were lost: then silence was no answer, and asking again, more slowly, brings some.
func (r *record) owes(pass uint8) bool {
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

// targetsOf counts the targets of a host.
func targetsOf(space target.Space, addr netip.Addr) uint64 { return space.Ports(addr).Len() }

// targetsBy counts the targets of a host by one protocol.
func targetsBy(space target.Space, addr netip.Addr, proto probe.Proto) uint64 {
	return space.Ports(addr).Count(proto)
}
