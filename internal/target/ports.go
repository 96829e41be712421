package target

import (
	"cmp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"sonde/internal/probe"
)

// Ports is a set of ports, each with its protocol. The zero value is empty. It is
// immutable and may be shared.
type Ports struct {
	ranges []portRange // ascending and disjoint, TCP before UDP
	n      uint64
}

type portRange struct {
	proto       probe.Proto
	first, last uint16
	before      uint64 // how many ports of the set come before this range
}

// PortList returns the set of the given ports of one protocol. Port 0 is left out:
// nothing can be asked of it.
func PortList(proto probe.Proto, ports ...uint16) Ports {
	var l portList
	for _, p := range ports {
		if p != 0 {
			l.add(proto, p, p)
		}
	}
	return l.ports()
}

// Len returns how many ports the set holds.
func (p Ports) Len() uint64 { return p.n }

// Count returns how many ports of one protocol the set holds.
func (p Ports) Count(proto probe.Proto) (n uint64) {
	for _, r := range p.ranges {
		if r.proto == proto {
			n += uint64(r.last-r.first) + 1
		}
	}
	return n
}

// At returns the set's port number j, counted from 0 in ascending order.
func (p Ports) At(j uint64) (probe.Proto, uint16) {
	k := sort.Search(len(p.ranges), func(k int) bool { return p.ranges[k].before > j }) - 1
	r := p.ranges[k]
	return r.proto, r.first + uint16(j-r.before)
}

// Index returns which port of the set the given one is: At(Index(x)) is x.
func (p Ports) Index(proto probe.Proto, port uint16) (j uint64, ok bool) {
	k := sort.Search(len(p.ranges), func(k int) bool { return p.ranges[k].after(proto, port) }) - 1
	if k < 0 || p.ranges[k].proto != proto || port > p.ranges[k].last {
		return 0, false
	}
	return p.ranges[k].before + uint64(port-p.ranges[k].first), true
}

// after reports whether the range starts behind the given port.
func (r portRange) after(proto probe.Proto, port uint16) bool {
	return r.proto > proto || r.proto == proto && r.first > port
}

// Union returns the ports that are in either set.
func (p Ports) Union(q Ports) Ports {
	return slices.Concat(portList(p.ranges), portList(q.ranges)).ports()
}

// Without returns the ports of p that are not in q.
func (p Ports) Without(q Ports) Ports {
	return p.Where(func(proto probe.Proto, port uint16) bool {
		_, in := q.Index(proto, port)
		return !in
	})
}

// Where returns the ports for which keep returns true. It asks for each in ascending order.
func (p Ports) Where(keep func(proto probe.Proto, port uint16) bool) Ports {
	var kept Ports
	for _, r := range p.ranges {
		for port := int(r.first); port <= int(r.last); port++ {
			if keep(r.proto, uint16(port)) {
				kept.extend(portRange{proto: r.proto, first: uint16(port), last: uint16(port)})
			}
		}
	}
	return kept
}

// Equal reports whether both sets hold the same ports.
func (p Ports) Equal(q Ports) bool { return slices.Equal(p.ranges, q.ranges) }

// String returns the set as ParsePorts reads it back: "22,80-90", and with the protocols named
// when there is another than TCP: "T:22,80-90,U:53".
func (p Ports) String() string {
	var b strings.Builder
	for i, r := range p.ranges {
		if i > 0 {
			b.WriteByte(',')
		}
		if i == 0 && p.ranges[len(p.ranges)-1].proto != probe.TCP || i > 0 && r.proto != p.ranges[i-1].proto {
			b.WriteString(prefix(r.proto))
		}
		b.WriteString(r.numbers())
	}
	return b.String()
}

// Numbers returns the set without protocols, for where the protocol is told beside it: "53,161". It is for
// a set of one protocol.
func (p Ports) Numbers() string {
	words := make([]string, len(p.ranges))
	for i, r := range p.ranges {
		words[i] = r.numbers()
	}
	return strings.Join(words, ",")
}

func prefix(proto probe.Proto) string {
	switch proto {
	case probe.TCP:
		return "T:"
	case probe.UDP:
		return "U:"
	}
	return proto.String() + ":"
}

// numbers returns "80" or "80-90".
func (r portRange) numbers() string {
	first := strconv.Itoa(int(r.first))
	if r.first == r.last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.last))
}

// key returns a string that equal sets, and only they, share.
func (p Ports) key() string {
	b := make([]byte, 0, 5*len(p.ranges))
	for _, r := range p.ranges {
		b = append(b, byte(r.proto), byte(r.first>>8), byte(r.first), byte(r.last>>8), byte(r.last))
	}
	return string(b)
}

// A portList is a set under construction: ranges in any order, which may overlap.
type portList []portRange

func (l *portList) add(proto probe.Proto, first, last uint16) {
	*l = append(*l, portRange{proto: proto, first: first, last: last})
}

func (l portList) ports() Ports {
	slices.SortFunc(l, func(a, b portRange) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.first, b.first))
	})
	var p Ports
	for _, r := range l {
		p.extend(r)
	}
	return p
}

// extend adds a range that begins at or behind the beginning of the set's last.
func (p *Ports) extend(r portRange) {
	if n := len(p.ranges); n > 0 {
		top := &p.ranges[n-1]
		if top.proto == r.proto && int(r.first) <= int(top.last)+1 {
			if r.last > top.last {
				p.n += uint64(r.last - top.last)
				top.last = r.last
			}
			return
		}
	}
	r.before = p.n
	p.ranges = append(p.ranges, r)
	p.n += uint64(r.last-r.first) + 1
}
