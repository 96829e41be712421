package scan

import (
	"net/netip"
	"time"

	"sonde/internal/probe"
)

// A cursor returns the targets of places as Plan.At does, faster where one place is near the one before, in either
// direction: the hosts of a block are worked out once, and the round only when it changes.
type cursor struct {
	plan  *Plan
	block Span // the places of the block at hand
	slots []slot
	round uint64
	row   Span // the places of the round at hand
	seg   *segment
	index uint64 // of the block in its segment
	slot  *slot  // whose target at returned last
	lists map[int][]port
}

// mostLists is how many groups' lists are kept from one block to the next.
const mostLists = 16

// A port is one of a group's, by its number there.
type port struct {
	number uint16
	proto  probe.Proto
}

// A slot is the host that is asked at one step of every round of a block.
type slot struct {
	addr  netip.Addr // invalid: not worked out yet
	host  uint64
	group *orderGroup
	ports []port    // the group's
	due   time.Time // when it may be asked again; with Plan.Spread only
}

func (c *cursor) at(place uint64) probe.Target {
	if place < c.row.Lo || place >= c.row.Hi {
		c.seek(place)
	}
	s := &c.slots[place-c.row.Lo]
	if !s.addr.IsValid() {
		*s = c.work(place - c.row.Lo)
	}
	c.slot = s
	p := s.ports[s.group.ports.With(s.host).At(c.round)]
	return probe.Target{AddrPort: netip.AddrPortFrom(s.addr, p.number), Proto: p.proto}
}

// seek moves to the round that holds a place.
func (c *cursor) seek(place uint64) {
	o := c.plan.order
	if place < c.block.Lo || place >= c.block.Hi {
		s := &o.segments[last(len(o.segments), func(k int) bool { return o.segments[k].first <= place })]
		c.seg, c.index = s, (place-s.first)/s.blockLen
		c.block = Span{s.first + c.index*s.blockLen, s.first + (c.index+1)*s.blockLen}
		c.slots = append(c.slots[:0], make([]slot, s.steps[0].hosts)...)
		if len(c.lists) > mostLists {
			clear(c.lists)
		}
	}
	offset := place - c.block.Lo
	st := c.seg.steps[last(len(c.seg.steps), func(k int) bool { return c.seg.steps[k].first <= offset })]
	row := (offset - st.first) / st.hosts
	c.round = st.round + row
	c.row.Lo = c.block.Lo + st.first + row*st.hosts
	c.row.Hi = c.row.Lo + st.hosts
}

// work works out which host a slot of the block at hand is.
func (c *cursor) work(k uint64) slot {
	p := c.seg.parts[last(len(c.seg.parts), func(i int) bool { return c.seg.parts[i].slot <= k })]
	g := &c.plan.order.groups[p.group]
	host := g.hosts.At(p.first + c.index*p.hosts + k - p.slot)
	return slot{addr: c.plan.Space.GroupHost(p.group, host), host: host, group: g, ports: c.list(p.group)}
}

// list returns the ports of a group, spelled out.
func (c *cursor) list(group int) []port {
	if list, ok := c.lists[group]; ok {
		return list
	}
	ports := c.plan.Space.GroupPorts(group)
	list := make([]port, ports.Len())
	for j := range list {
		list[j].proto, list[j].number = ports.At(uint64(j))
	}
	if c.lists == nil {
		c.lists = map[int][]port{}
	}
	c.lists[group] = list
	return list
}
