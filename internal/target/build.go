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
	ports int // number of the port set, or one of the marks
}

// The marks that a range may carry in place of a port set.
const (
	excluded = -1 // it is left out
	apart    = -2 // it is kept apart
)

// Add puts ports of the addresses from first to last, both included, into the space.
// An address added twice has the ports of both times. Both ends are of one family;
// only a single address may have a zone.
func (b *Builder) Add(first, last netip.Addr, ports Ports) {
	if ports.Len() > 0 {
		b.put(first, last, b.number(ports))
	}
}

// Exclude keeps the addresses from first to last out, whenever and however they are added.
func (b *Builder) Exclude(first, last netip.Addr) { b.put(first, last, excluded) }

func (b *Builder) put(first, last netip.Addr, ports int) {
	b.edges = append(b.edges, edge{first.Unmap(), false, ports}, edge{last.Unmap(), true, ports})
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
	_, space, err := b.split(nil)
	return space, err
}

// Split is Space in two parts: the addresses of special-purpose blocks (loopback, private,
// link-local, documentation, benchmarking, multicast and their like), and the public ones.
func (b *Builder) Split() (special, public Space, err error) {
	return b.split(specialPurpose[:])
}

// split parts what lies in the given prefixes from the rest.
//
// It sweeps over the edges in ascending order and keeps the port sets that hold
// between one edge and the next: n ranges, however they overlap, cost n log n.
func (b *Builder) split(prefixes []string) (inside, outside Space, err error) {
	edges := slices.Clone(b.edges)
	for _, text := range prefixes {
		r := netipx.RangeOfPrefix(netip.MustParsePrefix(text))
		edges = append(edges, edge{r.From(), false, apart}, edge{r.To(), true, apart})
	}
	slices.SortFunc(edges, compareEdges)
	var (
		pieces  [2][]span       // outside, inside; with the number of a port set for a group
		holding = map[int]int{} // port set: how many ranges have it here
		marks   = map[int]int{} // excluded, apart: the same
	)
	for k, e := range edges {
		if k > 0 && len(holding) > 0 && marks[excluded] == 0 {
			if first, last, ok := between(edges[k-1], e); ok && !b.excludesZoned(first) {
				side := min(1, marks[apart])
				if first.Zone() != "" && prefixes != nil {
					side = 1 // a zone is for what is no farther than a link (RFC 4007)
				}
				pieces[side] = append(pieces[side], span{first: first, last: last, group: b.union(holding)})
			}
		}
		counts := holding
		if e.ports < 0 {
			counts = marks
		}
		if !e.end {
			counts[e.ports]++
		} else if counts[e.ports]--; counts[e.ports] == 0 {
			delete(counts, e.ports)
		}
	}
	if outside, err = assemble(pieces[0], b.sets); err == nil {
		inside, err = assemble(pieces[1], b.sets)
	}
	if _, carry := bits.Add64(inside.n, outside.n, 0); carry != 0 {
		err = ErrTooMany
	}
	return inside, outside, err
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
func (b *Builder) union(holding map[int]int) int {
	ids := slices.Sorted(maps.Keys(holding))
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
