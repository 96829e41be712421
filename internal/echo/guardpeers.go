package echo

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"

	"sonde/internal/sock"
)

// peers are those we answered last. They lie in a table of fixed size, in sets: a peer is in the set that its hash names, and who comes
// to a full one takes the place of who has been silent for the longest time. So a flood of forged sources costs no memory, and what
// keeps talking, as the other half of a loop does, is not forgotten for it. There is no pointer in it for the garbage collector to follow.
type peers struct {
	seed  maphash.Seed
	epoch time.Time
	table []peer // of maxPeers; nil until there is one
}

const (
	maxPeers = 16384
	peerWays = 4 // peers of a set
)

// A peer is one we answered: what with, and how often that came back.
type peer struct {
	key     peerKey
	sent    uint64 // hash
	muted   int64  // until then; times are in nanoseconds since epoch
	last    int64  // when we heard of it; 0: nobody is here
	size    int32
	returns int32
}

// A peerKey is a peer's address without its zone, its port and ours.
type peerKey struct {
	high, low   uint64
	port, local uint16
}

func newPeers() peers { return peers{seed: maphash.MakeSeed(), epoch: newEpoch()} }

// newEpoch returns a time before all that the guard will be given.
func newEpoch() time.Time { return time.Now().Add(-24 * time.Hour) }

// loops reports whether d's peer is muted, as one that returned byte for byte what it was last
// sent returnsToMute times running. If not, d is what it is sent now.
func (ps *peers) loops(d *sock.Datagram, now time.Time) bool {
	t := int64(now.Sub(ps.epoch))
	p := ps.peer(d, t)
	if t < p.muted {
		return true
	}
	hash, size := maphash.Bytes(ps.seed, d.Data), int32(len(d.Data))
	if p.last != 0 && p.sent == hash && p.size == size {
		p.returns++
	} else {
		p.returns = 0
	}
	p.sent, p.size, p.last = hash, size, t
	if p.returns < returnsToMute {
		return false
	}
	p.returns, p.muted = 0, t+int64(muteTime)
	return true
}

// peer returns what is known of a peer. One that is new has a last of 0.
func (ps *peers) peer(d *sock.Datagram, now int64) *peer {
	if ps.table == nil {
		ps.table = make([]peer, maxPeers)
	}
	addr := d.Peer.Addr().As16()
	key := peerKey{binary.BigEndian.Uint64(addr[:8]), binary.BigEndian.Uint64(addr[8:]), d.Peer.Port(), d.Local.Port()}
	first := maphash.Comparable(ps.seed, key) % (maxPeers / peerWays) * peerWays
	set := ps.table[first : first+peerWays]
	oldest := &set[0]
	for i := range set {
		p := &set[i]
		if p.last != 0 && p.key == key {
			return p
		}
		if max(p.last, min(p.muted, now)) < max(oldest.last, min(oldest.muted, now)) { // the muted stay
			oldest = p
		}
	}
	*oldest = peer{key: key}
	return oldest
}

// network returns what shares one rate, as a number: the /24 of an IPv4 address, the /64 of an IPv6 one. No IPv6
// source begins as the first do, with ffff, which is multicast.
func network(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return 0xffff<<48 | uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}
