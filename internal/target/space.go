// Package target turns what a user names into a Space: the targets of a scan, numbered.
//
// A Space is a set of (address, port) pairs whose every member has a number and whose
// every number has a member, both found by arithmetic: no list of targets exists, so a
// scan of a billion needs no more memory than a scan of ten. A Space is immutable.
package target

import (
	"iter"
	"net/netip"
	"sort"

	"sonde/internal/probe"
)

// A Space is a set of targets: addresses, each with its own ports.
//
// Addresses that have the same ports form a group. Inside a group targets are numbered
// with the address varying fastest.
type Space struct {
	groups []group
	spans  []span // all addresses, ascending: what Index and Host search
	hosts  uint64
	n      uint64
}

// A group is a set of addresses that share their ports.
type group struct {
	ports  Ports
	spans  []span // ascending
	hosts  uint64
	before uint64 // targets of the groups before this one
}

// A span is a run of neighbouring addresses.
type span struct {
	first, last netip.Addr
	group       int
	before      uint64 // addresses of the group before this span
	rank        uint64 // addresses of the whole space before this span
}

// Len returns the number of targets. It is below 2^64: larger spaces are refused when they are built.
func (s Space) Len() uint64 { return s.n }

// At returns target i, for i below Len. It does not allocate.
func (s Space) At(i uint64) probe.Target {
	g := &s.groups[sort.Search(len(s.groups), func(k int) bool { return s.groups[k].before > i })-1]
	offset := i - g.before
	proto, port := g.ports.At(offset / g.hosts)
	return probe.Target{AddrPort: netip.AddrPortFrom(g.addr(offset%g.hosts), port), Proto: proto}
}

func (g *group) addr(host uint64) netip.Addr {
	sp := &g.spans[sort.Search(len(g.spans), func(k int) bool { return g.spans[k].before > host })-1]
	return add(sp.first, host-sp.before)
}

// Index returns the number of target t: At(Index(t)) is t. It returns false for a
// target that is not of this space. It does not allocate.
func (s Space) Index(t probe.Target) (i uint64, ok bool) {
	i, _, ok = s.Locate(t)
	return i, ok
}

// Locate is Index and, of its address, Rank.
func (s Space) Locate(t probe.Target) (i, rank uint64, ok bool) {
	sp, ok := s.find(t.Addr())
	if !ok {
		return 0, 0, false
	}
	g := &s.groups[sp.group]
	port, ok := g.ports.Index(t.Proto, t.Port())
	if !ok {
		return 0, 0, false
	}
	offset := distance(sp.first, t.Addr())
	return g.before + port*g.hosts + sp.before + offset, sp.rank + offset, true
}

// find returns the span that holds address a.
func (s Space) find(a netip.Addr) (span, bool) {
	k := sort.Search(len(s.spans), func(k int) bool { return compare(s.spans[k].first, a) > 0 }) - 1
	if k < 0 || compare(a, s.spans[k].last) > 0 || a.Zone() != s.spans[k].first.Zone() {
		return span{}, false
	}
	return s.spans[k], true
}

// Hosts returns the number of addresses.
func (s Space) Hosts() uint64 { return s.hosts }

// Host returns address r, counted from 0 in ascending order.
func (s Space) Host(r uint64) netip.Addr {
	sp := &s.spans[sort.Search(len(s.spans), func(k int) bool { return s.spans[k].rank > r })-1]
	return add(sp.first, r-sp.rank)
}

// Runs yields the runs of neighbouring addresses that the space is made of, ascending: the first and the last of each.
func (s Space) Runs() iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		for _, sp := range s.spans {
			if !yield(sp.first, sp.last) {
				return
			}
		}
	}
}

// Rank returns which address, in ascending order, a is: Host(Rank(a)) is a.
func (s Space) Rank(a netip.Addr) (r uint64, ok bool) {
	sp, ok := s.find(a)
	return sp.rank + distance(sp.first, a), ok
}

// Ports returns the ports of address a, none for an address that is not of this space.
func (s Space) Ports(a netip.Addr) Ports {
	sp, ok := s.find(a)
	if !ok {
		return Ports{}
	}
	return s.groups[sp.group].ports
}

// A Size says how many hosts share a set of how many ports.
type Size struct{ Hosts, Ports uint64 }

// Sizes returns the sizes of the groups that make up the numbering: the first group has
// the numbers below Hosts*Ports, in which host h and port j stand at j*Hosts + h; the next group follows.
func (s Space) Sizes() []Size {
	sizes := make([]Size, len(s.groups))
	for i, g := range s.groups {
		sizes[i] = Size{g.hosts, g.ports.Len()}
	}
	return sizes
}

// GroupHost returns host h of group g, as Sizes counts them.
func (s Space) GroupHost(g int, h uint64) netip.Addr { return s.groups[g].addr(h) }

// GroupPorts returns the ports of group g.
func (s Space) GroupPorts(g int) Ports { return s.groups[g].ports }

// Has reports whether any target of the space is of the given protocol.
func (s Space) Has(proto probe.Proto) bool {
	for _, g := range s.groups {
		for _, r := range g.ports.ranges {
			if r.proto == proto {
				return true
			}
		}
	}
	return false
}

// AllPorts returns the ports of all addresses together.
func (s Space) AllPorts() (all Ports) {
	for _, g := range s.groups {
		all = all.Union(g.ports)
	}
	return all
}
