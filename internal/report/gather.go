package report

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// A gathering keeps the answers of a span by host, until the span is over: its memory is bounded by what answered in one span.
type gathering struct {
	rows    map[netip.Addr][]row
	replies map[probe.Target][]byte
	seq     uint32
	*senders
}

func newGathering() gathering { return gatheringOf(&senders{number: map[netip.Addr]uint32{}}) }

// gatheringOf returns a gathering that numbers who sent ICMP errors as others do that have s.
func gatheringOf(s *senders) gathering {
	return gathering{rows: map[netip.Addr][]row{}, replies: map[probe.Target][]byte{}, senders: s}
}

// senders are those who sent ICMP errors about others, of all spans, numbered from 1.
type senders struct {
	addrs  []netip.Addr
	number map[netip.Addr]uint32
}

// add returns the number of a sender; 0 for none.
func (s *senders) add(from netip.Addr) uint32 {
	if !from.IsValid() {
		return 0
	}
	n, ok := s.number[from]
	if !ok {
		s.addrs = append(s.addrs, from)
		n = uint32(len(s.addrs))
		s.number[from] = n
	}
	return n
}

// addr returns the sender with a number; not valid for 0.
func (s *senders) addr(n uint32) netip.Addr {
	if n == 0 {
		return netip.Addr{}
	}
	return s.addrs[n-1]
}

// A row is what is known of a port, kept small: a span may have millions.
type row struct {
	nanos int64 // when it answered, since 1970; 0 if unknown
	class
	seq     uint32 // the later answer has the higher one; 0: silence
	micros  uint32 // the round trip; 0 if unknown
	port    uint16
	attempt uint8
	ttl     uint8
}

// A class is what ports of a host may have in common.
type class struct {
	from   uint32 // number of the sender; 0: the target itself
	proto  probe.Proto
	state  probe.State
	reason probe.Reason
	icmp   probe.ICMP
}

// time returns when the port answered, zero if that is not known.
func (r *row) time() time.Time {
	if r.nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, r.nanos).UTC()
}

func (r *row) rtt() time.Duration { return time.Duration(r.micros) * time.Microsecond }

func (g *gathering) put(answers []probe.Result) {
	for i := range answers {
		r := &answers[i]
		g.seq++
		addr := r.Target.Addr()
		g.rows[addr] = append(g.rows[addr], row{
			nanos: nanos(r.Time),
			class: class{from: g.add(r.From), proto: r.Target.Proto, state: r.State, reason: r.Reason, icmp: r.ICMP},
			seq:   g.seq, micros: micros(r.RTT),
			port: r.Target.Port(), attempt: r.Attempt, ttl: r.TTL,
		})
		if len(r.Reply) > 0 {
			g.replies[r.Target] = r.Reply
		}
	}
}

// micros returns a round trip as all reports have it: in whole microseconds, one at least, 0 if it is not known.
func micros(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min(max(1, d.Round(time.Microsecond)/time.Microsecond), 1<<32-1))
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// from returns who sent what c was told by, if it was not the target itself.
func (g *gathering) from(c class) string {
	if c.from == 0 {
		return ""
	}
	return g.addr(c.from).String()
}

// host returns what is known of each port of h, silence included, in ascending order. Of a port
// that answered more than once the last answer is kept.
func (g *gathering) host(h scan.Host) []row {
	rows := g.rows[h.Addr]
	h.Silent.Where(func(proto probe.Proto, port uint16) bool {
		rows = append(rows, row{port: port, attempt: h.Attempts, class: class{proto: proto, state: silentState(proto), reason: h.Reason}})
		return false
	})
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.order(), b.order()) })
	return slices.CompactFunc(rows, func(a, b row) bool { return byPort(a, b) == 0 })
}

// order is where a row stands among those of its host: by protocol and port, the latest answer first.
func (r *row) order() uint64 {
	return uint64(r.proto)<<48 | uint64(r.port)<<32 | uint64(^r.seq)
}

func byPort(a, b row) int { return cmp.Compare(a.order()>>32, b.order()>>32) }

// reply returns the first bytes that were heard from a port.
func (g *gathering) reply(addr netip.Addr, r *row) []byte {
	if len(g.replies) == 0 {
		return nil
	}
	return g.replies[probe.Target{AddrPort: netip.AddrPortFrom(addr, r.port), Proto: r.proto}]
}

// end forgets the answers of a span.
func (g *gathering) end() {
	clear(g.rows)
	clear(g.replies)
	g.seq = 0
}

// openOnly returns the rows of open ports.
func openOnly(rows []row) []row {
	return slices.DeleteFunc(rows, func(r row) bool { return r.state != probe.Open })
}
