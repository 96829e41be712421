package scan

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"sort"

	"sonde/internal/shuffle"
	"sonde/internal/target"
)

// blockTargets is about how many targets a block holds; a host is never split over two.
const blockTargets = 1 << 16

// An order is a bijection between the places at which targets come in a scan and their
// numbers in its space.
//
// The hosts of each group (those with equally many ports) are shuffled and dealt into
// blocks. Inside a block probing goes round by round: each round asks every host for one port, a
// different one of each, so that no host is asked twice while another waits. A host with
// fewer ports than others drops out when it has none left. A finished block is a set of finished hosts.
type order struct {
	groups   []orderGroup // as the space numbers them
	segments []segment    // as places run
	n        uint64
}

// An orderGroup is a group of the space, with its hosts and the ports of each in a shuffled order.
type orderGroup struct {
	target.Size
	before uint64 // numbers of the groups before it
	hosts  shuffle.Permutation
	ports  shuffle.Permutation
	deals  []deal // where its shuffled hosts went, ascending
}

// A deal says that shuffled hosts from first on went to a segment's part.
type deal struct {
	first         uint64
	segment, part int
}

// A segment is a run of blocks of one shape.
type segment struct {
	first    uint64 // the place at which it begins
	blocks   uint64
	blockLen uint64
	parts    []part // those with more ports first
	steps    []step
}

// A part is what one group gives to each block of a segment: as many shuffled hosts,
// block after block.
type part struct {
	group int
	first uint64 // shuffled host, in the segment's first block
	hosts uint64 // in each block
	slot  uint64 // hosts of the parts before it
}

// A step is a run of rounds in which the same hosts still have ports left.
type step struct {
	first uint64 // offset in the block
	round uint64
	hosts uint64
}

// newOrder deals blocks of about blockTargets targets, and no fewer hosts than fewest while there are any.
func newOrder(sizes []target.Size, seed, fewest uint64) *order {
	o := &order{groups: make([]orderGroup, len(sizes))}
	byPorts := make([]int, len(sizes))
	for i, size := range sizes {
		o.groups[i] = orderGroup{
			Size:   size,
			before: o.n,
			hosts:  shuffle.New(size.Hosts, seed).With(uint64(2 * i)),
			ports:  shuffle.New(size.Ports, seed).With(uint64(2*i + 1)),
		}
		o.n += size.Hosts * size.Ports
		byPorts[i] = i
	}
	slices.SortStableFunc(byPorts, func(i, j int) int { return cmp.Compare(sizes[j].Ports, sizes[i].Ports) })
	d := dealer{order: o, fewest: fewest}
	for _, i := range byPorts {
		d.deal(i)
	}
	d.flush()
	return o
}

// A dealer fills blocks with the hosts of one group after another.
type dealer struct {
	order   *order
	fewest  uint64 // hosts in a block
	place   uint64
	pending []part // of a block that is not full yet
	slots   uint64
	targets uint64
}

// deal gives out the hosts of group i: first into the block that waits, then in whole
// blocks, and the rest into the next block.
func (d *dealer) deal(i int) {
	size := d.order.groups[i].Size
	next := uint64(0)
	if d.targets > 0 {
		next = min(size.Hosts, d.room(size.Ports))
		d.add(i, 0, next)
	}
	perBlock := max(ceilDiv(blockTargets, size.Ports), d.fewest)
	if blocks := (size.Hosts - next) / perBlock; blocks > 0 {
		d.emit([]part{{group: i, first: next, hosts: perBlock}}, blocks)
		next += blocks * perBlock
	}
	if next < size.Hosts {
		d.add(i, next, size.Hosts-next)
	}
}

func (d *dealer) add(group int, first, hosts uint64) {
	d.pending = append(d.pending, part{group, first, hosts, d.slots})
	d.slots += hosts
	d.targets += hosts * d.order.groups[group].Ports
	if d.targets >= blockTargets && d.slots >= d.fewest {
		d.flush()
	}
}

// room returns how many hosts with so many ports each the block that waits still takes.
func (d *dealer) room(ports uint64) (hosts uint64) {
	if d.targets < blockTargets {
		hosts = ceilDiv(blockTargets-d.targets, ports)
	}
	if d.slots < d.fewest {
		hosts = max(hosts, d.fewest-d.slots)
	}
	return hosts
}

func (d *dealer) flush() {
	if d.targets > 0 {
		d.emit(d.pending, 1)
	}
	d.pending, d.slots, d.targets = nil, 0, 0
}

// emit appends a segment and lays out the rounds of its blocks: the last part, with the fewest
// ports, ends first.
func (d *dealer) emit(parts []part, blocks uint64) {
	s := segment{first: d.place, blocks: blocks, parts: parts}
	round := uint64(0)
	for k := len(parts) - 1; k >= 0; k-- {
		ports := d.order.groups[parts[k].group].Ports
		if ports > round {
			hosts := parts[k].slot + parts[k].hosts
			s.steps = append(s.steps, step{s.blockLen, round, hosts})
			s.blockLen += (ports - round) * hosts
			round = ports
		}
		g := &d.order.groups[parts[k].group]
		g.deals = append(g.deals, deal{parts[k].first, len(d.order.segments), k})
	}
	d.order.segments = append(d.order.segments, s)
	d.place += blocks * s.blockLen
}

// at returns the number in the space of the target that comes at a place.
func (o *order) at(place uint64) uint64 {
	s := &o.segments[last(len(o.segments), func(k int) bool { return o.segments[k].first <= place })]
	block, offset := (place-s.first)/s.blockLen, (place-s.first)%s.blockLen
	st := s.steps[last(len(s.steps), func(k int) bool { return s.steps[k].first <= offset })]
	round, slot := st.round+(offset-st.first)/st.hosts, (offset-st.first)%st.hosts
	p := s.parts[last(len(s.parts), func(k int) bool { return s.parts[k].slot <= slot })]
	g := &o.groups[p.group]
	host := g.hosts.At(p.first + block*p.hosts + slot - p.slot)
	return g.before + g.ports.With(host).At(round)*g.Hosts + host
}

// placeOf returns the place at which target number i comes: placeOf(at(x)) is x.
func (o *order) placeOf(i uint64) uint64 {
	g := &o.groups[last(len(o.groups), func(k int) bool { return o.groups[k].before <= i })]
	port, host := (i-g.before)/g.Hosts, (i-g.before)%g.Hosts
	dealt := g.hosts.Inverse(host)
	to := g.deals[last(len(g.deals), func(k int) bool { return g.deals[k].first <= dealt })]
	s := &o.segments[to.segment]
	p := s.parts[to.part]
	block, slot := (dealt-p.first)/p.hosts, p.slot+(dealt-p.first)%p.hosts
	round := g.ports.With(host).Inverse(port)
	st := s.steps[last(len(s.steps), func(k int) bool { return s.steps[k].round <= round })]
	return s.first + block*s.blockLen + st.first + (round-st.round)*st.hosts + slot
}

// nextCut returns the greatest place at or below limit at which a block ends; if there is none behind
// place, the end of the block that begins there.
func (o *order) nextCut(place, limit uint64) uint64 {
	cut := place
	for k := last(len(o.segments), func(k int) bool { return o.segments[k].first <= place }); k < len(o.segments); k++ {
		s := &o.segments[k]
		done := (cut - s.first) / s.blockLen
		fit := uint64(0)
		if limit > cut {
			fit = min(s.blocks-done, (limit-cut)/s.blockLen)
		}
		if fit == 0 && cut == place {
			fit = 1
		}
		cut += fit * s.blockLen
		if done+fit < s.blocks {
			break
		}
	}
	return cut
}

// blockStart returns the place at which the block that holds place begins.
func (o *order) blockStart(place uint64) uint64 {
	s := &o.segments[last(len(o.segments), func(k int) bool { return o.segments[k].first <= place })]
	return place - (place-s.first)%s.blockLen
}

// eachBlock yields the blocks of a span, and how many hosts each holds: the first round asks every one of them, in
// consecutive places. Of a block that the span holds only a part of, it yields that part, and 0 hosts.
func (o *order) eachBlock(span Span) iter.Seq2[Span, uint64] {
	return func(yield func(block Span, hosts uint64) bool) {
		for _, s := range o.segments {
			lo, hi := max(span.Lo, s.first), min(span.Hi, s.first+s.blocks*s.blockLen)
			for place := lo; place < hi; {
				start := o.blockStart(place)
				block := Span{place, min(start+s.blockLen, hi)}
				hosts := s.steps[0].hosts
				if block.Hi-block.Lo < s.blockLen {
					hosts = 0
				}
				if !yield(block, hosts) {
					return
				}
				place = block.Hi
			}
		}
	}
}

// last returns the greatest k below n for which holds(k), which holds up to there and not behind.
func last(n int, holds func(k int) bool) int {
	return sort.Search(n, func(k int) bool { return !holds(k) }) - 1
}

func ceilDiv(a, b uint64) uint64 {
	q, r := bits.Div64(0, a, b)
	if r > 0 {
		q++
	}
	return q
}
