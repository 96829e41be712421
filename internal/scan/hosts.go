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
	refused  [3]refusal // the last that it refused, by ICMP rather than by a reset; to be asked again as controls
	refusals int

	controls controls // of the pass at hand
	limited  bool     // it limits its refusals
	nobody   bool     // no neighbour has its address

	begun  time.Time // its first probe; with Plan.HostTimeout only
	gaveUp bool

	middlebox bool

	// How many targets were first heard on each pass, from pass 1: ports that are open, and others.
	open, other []uint64
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
	counts := &r.other
	if res.State == probe.Open {
		counts = &r.open
	}
	for len(*counts) < int(pass) {
		*counts = append(*counts, 0)
	}
	(*counts)[pass-1]++
	if res.State == probe.Closed || res.State == probe.Filtered {
		r.refuse(refusal{res.Target, res.ICMP != probe.ICMP{}})
	}
}

// refuse keeps a refusal as a control. Hosts limit ICMP errors far more often than resets, so one of those is
// never given up for a reset.
func (r *record) refuse(f refusal) {
	slot := &r.refused[r.refusals%len(r.refused)]
	if slot.icmp && !f.icmp {
		return
	}
	*slot = f
	r.refusals++
}

// Controls are probes to targets that refused before, asked again among those that are silent. Where the
// controls are silent too, the host (or who refuses for it) limits how often it refuses, and the silence of the others proves nothing.
type controls struct {
	pass   uint8
	silent uint64 // targets of the host that were silent when the pass began
	handed uint64 // of them, asked so far
	sent   uint64 // controls of this pass

	asked, answered uint64 // controls of all passes
}

const (
	mostControls = 8 // of a host in a pass
	fewestSilent = 8 // targets of a host that it takes for controls
	fewestLost   = 6 // controls that it takes for a verdict
)

// control returns the target to be asked again after one more silent one of the host, if one falls due: they are
// spread over the pass, the last after its last.
func (r *record) control(pass uint8, targets uint64) (probe.Target, bool) {
	c := &r.controls
	if c.pass != pass {
		r.judge()
		c.pass, c.silent, c.handed, c.sent = pass, targets-min(targets, r.answered), 0, 0
	}
	c.handed++
	if r.refusals == 0 || c.silent < fewestSilent || c.sent >= min(mostControls, c.handed*mostControls/c.silent) {
		return probe.Target{}, false
	}
	t := r.refused[int(c.sent)%min(r.refusals, len(r.refused))].target
	c.sent++
	c.asked++
	return t, true
}

// judge says what the controls mean so far. Chance takes three of four and six at the least from a path that loses a fifth of all
// packets in one scan of five hundred.
func (r *record) judge() {
	c := &r.controls
	if lost := c.asked - min(c.asked, c.answered); lost >= fewestLost && 4*lost >= 3*c.asked {
		r.limited = true
	}
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
