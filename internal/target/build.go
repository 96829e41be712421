package target

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// ErrTooMany refuses a space of 2^64 targets or more.
var ErrTooMany = errors.New("2^64 targets or more cannot be scanned")

// A Builder collects what is to be scanned and what is not. The zero value is ready.
type Builder struct {
	edges  []edge
	sets   []Ports        // the distinct port sets, by number
	ids    map[string]int // Ports.key to number
	unions map[string]int // numbers of port sets to that of their union
}

// An edge is where a named range of addresses begins or ends. Ends come behind their
// address, so that a range may reach to the last address there is.
type edge struct {
	addr  netip.Addr
	end   bool
	wide  bool // of a range that is wider than a special-purpose block
	ports int  // number of the port set, or one of the marks
}

// The marks that a range may carry in place of a port set.
const (
	excluded = -1 // it is not scanned
	apart    = -2 // it is a special-purpose block
	joined   = -3 // it is a public network inside such a block
)

// Add puts ports of the addresses from first to last, both included, into the space.
// An address added twice has the ports of both times. Both ends are of one family;
// only a single address may have a zone.
func (b *Builder) Add(first, last netip.Addr, ports Ports) {
	if ports.Len() > 0 {
		b.put(first, last, b.number(ports), isWide(first, last))
	}
}

// Exclude keeps the addresses from first to last out, whenever and however they are added.
func (b *Builder) Exclude(first, last netip.Addr) { b.put(first, last, excluded, false) }

func (b *Builder) put(first, last netip.Addr, ports int, wide bool) {
	b.edges = append(b.edges, edge{first.Unmap(), false, wide, ports}, edge{last.Unmap(), true, wide, ports})
}

func (b *Builder) number(p Ports) int {
	if b.ids == nil {
		b.ids = map[string]int{}
	}
	key := p.key()
	id, ok := b.ids[key]
	if !ok {
		id = len(b.sets)
		b.ids[key], b.sets = id, append(b.sets, p)
	}
	return id
}

// Space returns the space of all that was added and not excluded, or ErrTooMany.
func (b *Builder) Space() (Space, error) {
	p := b.sweep(slices.Clone(b.edges))
	return assemble(slices.Concat(p.public, p.special), b.sets) // without blocks only what has a zone is special, and comes last
}

// Split is Space in two parts: the addresses of special-purpose blocks (loopback, private, link-local, documentation,
// benchmarking, multicast and their like), and the public ones. A range that was added and is wider than such a block does not
// count in it: what it alone would have there is left out of both.
func (b *Builder) Split() (special, public Space, left []LeftOut, err error) {
	p := b.sweep(slices.Concat(b.edges, blockEdges()))
	if public, err = assemble(p.public, b.sets); err == nil {
		special, err = assemble(p.special, b.sets)
	}
	if _, carry := bits.Add64(special.n, public.n, 0); carry != 0 {
		err = ErrTooMany
	}
	return special, public, p.left, err
}

func blockEdges() (edges []edge) {
	for _, b := range blocks {
		r, mark := netipx.RangeOfPrefix(b.Prefix), apart
		if b.reachable {
			mark = joined
		}
		edges = append(edges, edge{r.From(), false, false, mark}, edge{r.To(), true, false, mark})
	}
	return edges
}

// pieces are what a sweep comes by. The group of a span is the number of a port set.
type pieces struct {
	public, special []span
	left            []LeftOut
}

// here is what holds at the place that a sweep has come to: how many ranges have each port set, or mark.
type here struct{ narrow, wide, marks map[int]int }

// step goes on over an edge.
func (h *here) step(e edge) {
	counts := h.narrow
	switch {
	case e.ports < 0:
		counts = h.marks
	case e.wide:
		counts = h.wide
	}
	if !e.end {
		counts[e.ports]++
	} else if counts[e.ports]--; counts[e.ports] == 0 {
		delete(counts, e.ports)
	}
}

func (h *here) scanned() bool {
	return len(h.narrow)+len(h.wide) > 0 && h.marks[excluded] == 0
}

func (h *here) special() bool { return h.marks[apart] > 0 && h.marks[joined] == 0 }

// sweep goes over the edges in ascending order and keeps the port sets that hold between one
// edge and the next: n ranges, however they overlap, cost n log n.
func (b *Builder) sweep(edges []edge) (p pieces) {
	slices.SortFunc(edges, compareEdges)
	at := here{map[int]int{}, map[int]int{}, map[int]int{}}
	for k, e := range edges {
		if k > 0 && at.scanned() {
			if first, last, ok := between(edges[k-1], e); ok && !b.excludesZoned(first) {
				b.keep(&p, first, last, &at)
			}
		}
		at.step(e)
	}
	return p
}

// keep puts the addresses between two edges where they belong.
func (b *Builder) keep(p *pieces, first, last netip.Addr, at *here) {
	s := span{first: first, last: last}
	switch {
	case first.Zone() != "": // it is for what is no farther than a link (RFC 4007)
		s.group = b.union(at.narrow)
		p.special = append(p.special, s)
	case !at.special():
		s.group = b.union(at.narrow, at.wide)
		p.public = append(p.public, s)
	case len(at.narrow) > 0:
		s.group = b.union(at.narrow)
		p.special = append(p.special, s)
	default:
		p.left = leaveOut(p.left, first, last)
	}
}

// excludesZoned reports whether an address with a zone is excluded by its number: an exclusion
// without a zone is for every zone.
func (b *Builder) excludesZoned(a netip.Addr) bool {
	if a.Zone() == "" {
		return false
	}
	a = a.WithZone("")
	for k := 0; k < len(b.edges); k += 2 { // a beginning and its end stand side by side
		if first, last := b.edges[k], b.edges[k+1]; first.ports == excluded && !a.Less(first.addr) && !last.addr.Less(a) {
			return true
		}
	}
	return false
}

// union returns the number of the set of all ports that the held sets have. The few
// combinations there are come again and again, so each is made once.
func (b *Builder) union(holding ...map[int]int) int {
	var ids []int
	for _, h := range holding {
		ids = slices.AppendSeq(ids, maps.Keys(h))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 1 {
		return ids[0]
	}
	key := fmt.Sprint(ids)
	id, ok := b.unions[key]
	if !ok {
		var all Ports
		for _, id := range ids {
			all = all.Union(b.sets[id])
		}
		if b.unions == nil {
			b.unions = map[string]int{}
		}
		id = b.number(all)
		b.unions[key] = id
	}
	return id
}

// compareEdges orders by address, beginnings before ends; zones keep apart what they name.
func compareEdges(a, b edge) int {
	if c := compare(a.addr, b.addr); c != 0 {
		return c
	}
	if a.end != b.end {
		if b.end {
			return -1
		}
		return 1
	}
	return 0
}

// between returns the addresses from one edge to the next, false when there are none.
func between(a, b edge) (first, last netip.Addr, ok bool) {
	first, last = a.addr, b.addr
	if a.end {
		first = first.Next()
	}
	if !b.end {
		last = last.Prev()
	}
	ok = first.IsValid() && last.IsValid() && first.BitLen() == last.BitLen() && compare(first, last) <= 0
	return first, last, ok
}

// assemble numbers the pieces, ascending and disjoint, whose group is a port set's
// number, and joins neighbours that share their ports.
func assemble(pieces []span, sets []Ports) (Space, error) {
	var s Space
	groups := map[int]int{} // port set to group
	for _, p := range pieces {
		g, ok := groups[p.group]
		if !ok {
			g = len(s.groups)
			groups[p.group], s.groups = g, append(s.groups, group{ports: sets[p.group]})
		}
		p.group = g
		if err := s.append(p); err != nil {
			return Space{}, err
		}
	}
	for i := range s.groups {
		g := &s.groups[i]
		g.before = s.n
		hi, n := bits.Mul64(g.hosts, g.ports.Len())
		total, carry := bits.Add64(s.n, n, 0)
		if hi != 0 || carry != 0 {
			return Space{}, ErrTooMany
		}
		s.n = total
	}
	return s, nil
}

func (s *Space) append(p span) error {
	g := &s.groups[p.group]
	size, ok := count(p.first, p.last)
	hosts, carry := bits.Add64(s.hosts, size, 0)
	if !ok || carry != 0 {
		return fmt.Errorf("%s to %s: %w", p.first, p.last, ErrTooMany)
	}
	p.before, p.rank = g.hosts, s.hosts
	g.hosts += size
	s.hosts = hosts
	if n := len(s.spans); n > 0 && s.spans[n-1].group == p.group && s.spans[n-1].last.Next() == p.first {
		s.spans[n-1].last, g.spans[len(g.spans)-1].last = p.last, p.last
		return nil
	}
	s.spans, g.spans = append(s.spans, p), append(g.spans, p)
	return nil
}

// compare orders addresses by family, zone and number, so that neighbours in a range are neighbours here.
func compare(a, b netip.Addr) int {
	if c := cmp.Compare(a.BitLen(), b.BitLen()); c != 0 {
		return c
	}
	if az, bz := a.Zone(), b.Zone(); az != bz {
		return cmp.Compare(az, bz)
	}
	return a.Compare(b)
}
