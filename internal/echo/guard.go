package echo

import (
	"hash/maphash"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

// The guard's measures.
const (
	returnsToMute = 32          // identical returns, running, that make a loop
	muteTime      = time.Second // and how long its peer is not answered
	maxPeers      = 16384       // peers remembered
	maxNets       = 16384       // networks with a rate of their own; all others share one
	forgetAfter   = time.Second // a rate is full again by then
	addrsAge      = 10 * time.Second
)

// A guard keeps an echo server from being one half of an endless loop: two servers that answer
// anything answer each other for ever from one forged datagram (CVE-2024-2169). It also keeps
// a forged flood from being passed on at its full rate. One goroutine uses it; its tables are bounded.
type guard struct {
	allowLow bool
	rate     float64 // datagrams a second and network, and the burst
	nets     map[netip.Prefix]*bucket
	others   bucket
	netSweep time.Time // when a full table was last swept of those with nothing to say

	seed      maphash.Seed
	peers     map[netip.AddrPort]*peer
	peerSweep time.Time

	own   func(netip.Addr) bool
	addrs map[netip.Addr]bool // this machine's, for own
	asked time.Time
}

// A bucket holds the datagrams that a network may still be answered.
type bucket struct {
	left float64
	last time.Time
}

// A peer is one we answered: what with, and how often that came back.
type peer struct {
	sent    uint64 // hash
	size    int
	returns int
	muted   time.Time // until then
	last    time.Time
}

func newGuard(allowLow bool, rate int) *guard {
	if rate <= 0 {
		rate = DefaultRatePerNet
	}
	g := &guard{allowLow: allowLow, rate: float64(rate), nets: make(map[netip.Prefix]*bucket),
		seed: maphash.MakeSeed(), peers: make(map[netip.AddrPort]*peer)}
	g.own = g.isOurs
	return g
}

// judge says whether d, which came at time now, is to be echoed. It remembers that it was.
func (g *guard) judge(d sock.Datagram, now time.Time) Why {
	switch why := g.judgeSource(d, now); {
	case why != echoed:
		return why
	case d.Truncated:
		return Truncated
	case !d.Peer.Addr().IsLoopback() && !g.spend(d.Peer.Addr(), now):
		return TooMany
	case g.loops(d, now):
		return Looping
	}
	return echoed
}

func (g *guard) judgeSource(d sock.Datagram, now time.Time) Why {
	from, port := d.Peer.Addr(), d.Peer.Port()
	switch {
	case d.ToMany:
		return ToMany
	case !isAnswerable(d.Peer), from.IsLoopback() && d.Local.IsValid() && !d.Local.Addr().IsLoopback():
		return BadSource
	case d.Local.IsValid() && port == d.Local.Port() && g.isOwn(from, d.Local.Addr(), now):
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

// spend takes a datagram from the rate of a's network: a token bucket of one second's rate.
func (g *guard) spend(a netip.Addr, now time.Time) bool {
	b := g.bucket(network(a), now)
	b.left = min(g.rate, b.left+g.rate*now.Sub(b.last).Seconds())
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// bucket returns the network's own bucket, or when there are too many networks the one that
// all the rest share: a flood from forged networks is then one flood.
func (g *guard) bucket(p netip.Prefix, now time.Time) *bucket {
	if b := g.nets[p]; b != nil {
		return b
	}
	if len(g.nets) >= maxNets && now.Sub(g.netSweep) >= forgetAfter {
		g.netSweep = now
		for p, b := range g.nets {
			if now.Sub(b.last) >= forgetAfter {
				delete(g.nets, p)
			}
		}
	}
	if len(g.nets) >= maxNets {
		return &g.others
	}
	b := &bucket{left: g.rate, last: now}
	g.nets[p] = b
	return b
}

// loops reports whether d's peer is muted, as one that returned byte for byte what it was last
// sent returnsToMute times running. If not, d is what it is sent now.
func (g *guard) loops(d sock.Datagram, now time.Time) bool {
	p := g.peer(d.Peer, now)
	if now.Before(p.muted) {
		return true
	}
	hash := maphash.Bytes(g.seed, d.Data)
	if !p.last.IsZero() && p.sent == hash && p.size == len(d.Data) {
		p.returns++
	} else {
		p.returns = 0
	}
	p.sent, p.size, p.last = hash, len(d.Data), now
	if p.returns < returnsToMute {
		return false
	}
	p.returns, p.muted = 0, now.Add(muteTime)
	return true
}

// peer returns what is known of a peer. From a full table those that are silent for long are
// forgotten first, then any one.
func (g *guard) peer(a netip.AddrPort, now time.Time) *peer {
	if p := g.peers[a]; p != nil {
		return p
	}
	if len(g.peers) >= maxPeers && now.Sub(g.peerSweep) >= forgetAfter {
		g.peerSweep = now
		for a, p := range g.peers {
			if now.Sub(p.last) >= forgetAfter && !now.Before(p.muted) {
				delete(g.peers, a)
			}
		}
	}
	for a := range g.peers {
		if len(g.peers) < maxPeers {
			break
		}
		delete(g.peers, a)
	}
	p := new(peer)
	g.peers[a] = p
	return p
}
