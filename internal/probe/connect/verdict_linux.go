package connect

import (
	"fmt"
	"net/netip"
	"syscall"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// judge returns the verdict on an outcome, and its evidence.
func (s *shared) judge(p probe.Probe, o sock.Outcome) probe.Result {
	switch {
	case o.Err == nil && o.Self:
		return probe.Result{State: probe.Closed, Reason: probe.ConnRefused}
	case o.Err == nil:
		return probe.Result{State: probe.Open, Reason: probe.SynAck}
	case o.Ours:
		return unsent(p, o.Err)
	case o.Network:
		return s.judgeICMP(p, o.ICMP)
	}
	state, reason, ok := verdict(o.Err)
	if !ok {
		return unsent(p, o.Err)
	}
	return probe.Result{State: state, Reason: reason}
}

// judgeICMP returns what an ICMP error says. One that this machine sent itself says nothing
// of the target: either the next hop's link address could not be found, which is silence, or a
// rule of our own refused.
func (s *shared) judgeICMP(p probe.Probe, e sock.ICMPError) probe.Result {
	from := e.From
	if e.Local || from != p.Addr().WithZone("") && s.isOwn(from) {
		if e.Errno == syscall.EHOSTUNREACH {
			return probe.Result{State: probe.Filtered, Reason: probe.NoNeighbor}
		}
		return unsent(p, fmt.Errorf("a rule of this machine refused to send: %w", error(e.Errno)))
	}
	icmp := probe.ICMP{Type: e.Type, Code: e.Code}
	reason, ok := probe.ReasonOf(icmp, p.Addr().Is6())
	if !ok {
		return probe.Result{State: probe.Filtered, Reason: probe.NoResponse}
	}
	if from == p.Addr().WithZone("") {
		from = netip.Addr{}
	}
	return probe.Result{State: probe.Filtered, Reason: reason, From: from, ICMP: icmp}
}
