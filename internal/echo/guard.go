package echo

import (
	"net/netip"
	"time"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// The guard's measures.
const (
	returnsToMute = 32          // identical returns, running, that make a loop
	muteTime      = time.Second // and how long its peer is not answered
	addrsAge      = 10 * time.Second
)

// A guard keeps an echo server from being one half of an endless loop: two servers that answer
// anything answer each other for ever from one forged datagram (CVE-2024-2169). It also keeps
// a forged flood from being passed on at its full rate. One goroutine uses it, and its peers are its own; ports and rates it shares.
type guard struct {
	allowLow bool
	access   serve.Access
	ports    *portSet // that we listen on
	rates    *rates
	peers    peers

	own   func(netip.Addr) bool
	addrs map[netip.Addr]bool // this machine's, for own
	asked time.Time
}

func newGuard(s *Server, ports *portSet, rates *rates) *guard {
	g := &guard{allowLow: s.AllowLowPorts, access: s.Access, ports: ports, rates: rates, peers: newPeers()}
	g.own = g.isOurs
	return g
}

// judge says whether d, which came at time now, is to be echoed. It remembers that it was.
func (g *guard) judge(d *sock.Datagram, now time.Time) Why {
	switch why := g.judgeSource(d, now); {
	case why != echoed:
		return why
	case d.Truncated:
		return Truncated
	case !d.Peer.Addr().IsLoopback() && !g.rates.spend(d.Peer.Addr(), now):
		return TooMany
	case g.peers.loops(d, now):
		return Looping
	}
	return echoed
}

func (g *guard) judgeSource(d *sock.Datagram, now time.Time) Why {
	from, port := d.Peer.Addr(), d.Peer.Port()
	switch {
	case d.ToMany:
		return ToMany
	case !isAnswerable(d.Peer), from.IsLoopback() && d.Local.IsValid() && !d.Local.Addr().IsLoopback():
		return BadSource
	case !g.access.Permits(from):
		return Denied
	case g.ports.has(port) && g.isOwn(from, d.Local.Addr(), now):
		return OwnSource
	case port < 1024 && !g.allowLow:
		return LowPort
	}
	return echoed
}

// isAnswerable refuses what no host has for an address: multicast, this network (0/8),
// 255/8 with the broadcast address in it (RFC 1122 section 3.2.1.3), and port 0 (RFC 768).
func isAnswerable(peer netip.AddrPort) bool {
	a := peer.Addr()
	if !a.IsValid() || a.IsMulticast() || a.IsUnspecified() || peer.Port() == 0 {
		return false
	}
	return !a.Is4() || a.As4()[0] != 0 && a.As4()[0] != 255
}

// isOwn reports whether a is an address of this machine.
func (g *guard) isOwn(a, local netip.Addr, now time.Time) bool {
	if a == local || a.IsLoopback() {
		return true
	}
	if now.Sub(g.asked) > addrsAge {
		g.addrs, g.asked = nil, now
	}
	return g.own(a)
}

// isOurs asks the system, whose answer serves until isOwn forgets it.
func (g *guard) isOurs(a netip.Addr) bool {
	if g.addrs == nil {
		var err error
		if g.addrs, err = sock.OwnAddrs(); err != nil {
			g.addrs = map[netip.Addr]bool{} // then only the address that was asked, and loopback
		}
	}
	return g.addrs[a.WithZone("")]
}

// A portSet is a set of ports, a bit each.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(port uint16) { s[port/64] |= 1 << (port % 64) }

func (s *portSet) has(port uint16) bool { return s[port/64]&(1<<(port%64)) != 0 }
