package connect

import (
	"fmt"
	"net/netip"
	"sync"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// shared is what the connections of one scan have in common.
type shared struct {
	prober *Prober
	hosts  *hosts
	own    map[netip.Addr]bool // this machine's addresses

	mu         sync.Mutex // guards the rest, so that one reports at a time
	report     func(probe.Result)
	short      bool                    // a shortage was told
	ownFlights map[netip.AddrPort]int  // ports of this machine that are being probed now
	suspects   map[netip.AddrPort]bool // those of them that another probe of ours may have met
}

func (p *Prober) share(report func(probe.Result)) (*shared, error) {
	own, err := sock.OwnAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	if p.known == nil {
		p.known = newHosts()
	}
	return &shared{prober: p, hosts: p.known, own: own, report: report, ownFlights: map[netip.AddrPort]int{}, suspects: map[netip.AddrPort]bool{}}, nil
}

func (s *shared) tell(results ...probe.Result) {
	if len(results) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		s.report(r)
	}
}

func (s *shared) tellShortage(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.short && s.prober.OnShortage != nil {
		s.prober.OnShortage(err)
	}
	s.short = true
}

func (s *shared) isOwn(addr netip.Addr) bool {
	return addr.IsLoopback() || addr.IsUnspecified() || s.own[addr.WithZone("")]
}

// hasFamily reports whether this machine has any address of the family of to.
func (s *shared) hasFamily(to netip.Addr) bool {
	for a := range s.own {
		if a.BitLen() == to.BitLen() {
			return true
		}
	}
	return false
}

// countOwn keeps account of the probes to this machine itself: they alone can meet one another.
func (s *shared) countOwn(to netip.AddrPort, delta int) {
	if !s.isOwn(to.Addr()) {
		return
	}
	to = withoutZone(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ownFlights[to] += delta; s.ownFlights[to] == 0 {
		delete(s.ownFlights, to)
	}
}

// metOurselves reports whether what came of a probe to a port of this machine may be the work
// not of a listener but of another probe of ours: two SYNs that cross make a connection
// (RFC 9293 section 3.5), each probe coming from the port that the other goes to. The probe that
// sees it first makes a suspect of the other, whose connection it is about to reset.
func (s *shared) metOurselves(to, local netip.AddrPort) bool {
	if !s.isOwn(to.Addr()) {
		return false
	}
	to = withoutZone(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspects[to] {
		delete(s.suspects, to)
		return true
	}
	if s.ownFlights[local] == 0 {
		return false
	}
	s.suspects[local] = true
	return true
}

// withoutZone is the name under which a port of this machine is known: a connection to the
// unspecified address is one to loopback (ip(7)).
func withoutZone(a netip.AddrPort) netip.AddrPort {
	switch a.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
	}
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}
