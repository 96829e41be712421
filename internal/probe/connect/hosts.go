package connect

import (
	"net/netip"

	"sonde/internal/probe"
)

// hostLimits keeps each address to so many connections in flight. The zero value has no limit.
type hostLimits struct {
	limit    int
	inFlight map[netip.Addr]int
	queues   map[netip.Addr][]probe.Probe
	parked   int // probes in all queues
}

// admit lets p go, or keeps it until release makes room.
func (h *hostLimits) admit(p probe.Probe) bool {
	if h.limit == 0 {
		return true
	}
	if h.inFlight == nil {
		h.inFlight, h.queues = map[netip.Addr]int{}, map[netip.Addr][]probe.Probe{}
	}
	if h.inFlight[p.Addr()] >= h.limit {
		h.queues[p.Addr()] = append(h.queues[p.Addr()], p)
		h.parked++
		return false
	}
	h.inFlight[p.Addr()]++
	return true
}

// takeBack undoes admit: the probe did not leave.
func (h *hostLimits) takeBack(addr netip.Addr) {
	if h.limit == 0 {
		return
	}
	if h.inFlight[addr]--; h.inFlight[addr] == 0 {
		delete(h.inFlight, addr)
	}
}

// rest returns the probes that still wait for room.
func (h *hostLimits) rest() (probes []probe.Probe) {
	for _, q := range h.queues {
		probes = append(probes, q...)
	}
	return probes
}

// release says that a probe to addr ended, and returns one that waited for that, not yet admitted.
func (h *hostLimits) release(addr netip.Addr) (p probe.Probe, ok bool) {
	if h.limit == 0 {
		return p, false
	}
	h.takeBack(addr)
	q := h.queues[addr]
	if len(q) == 0 {
		return p, false
	}
	h.parked--
	if h.queues[addr] = q[1:]; len(q) == 1 {
		delete(h.queues, addr)
	}
	return q[0], true
}
