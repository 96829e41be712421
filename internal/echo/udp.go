package echo

import (
	"context"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// A Conn is a datagram socket: *sock.UDP, or a test's.
type Conn interface {
	LocalAddr() netip.AddrPort
	ReadBatch([]sock.Datagram) (int, error)
	WriteBatch([]sock.Datagram) (int, error)
	SetReadDeadline(time.Time) error
}

// replies decides over what is about to be sent by a conn: it sends it through send, or something else, or later. The datagrams'
// Data is valid until it returns. It may ask to be called again at some time with nothing; the zero time asks for nothing.
type replies func(c Conn, ds []sock.Datagram, send func(Conn, []sock.Datagram)) (wake time.Time)

// ServeUDP echoes on all conns until ctx ends and returns nil then. No datagram's error ends it. It leaves them open,
// and returns an error if somebody else has closed one.
//
// Where the system has sock.Gathers there is a loop for each processor, with buffers for one socket however many there are. A few
// sockets are joined by siblings, so that each loop has one of every address; of many, each loop has its share.
func (s *Server) ServeUDP(ctx context.Context, conns ...Conn) error {
	p := newPost(s, conns)
	defer p.close()
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range p.loops {
		group.Go(func() error { return l.serve(ctx) })
	}
	err := group.Wait()
	p.tellTotals(conns)
	p.notices.end()
	return err
}

// fewSockets is up to how many sockets are joined by siblings. More would cost more descriptors than they bring speed.
const fewSockets = 16

// A post is one call of ServeUDP: what its loops share.
type post struct {
	*Server
	counts   *UDPCounts
	notices  notices
	ports    portSet
	rates    *rates
	loops    []*loop
	siblings []*sock.UDP
}

func newPost(s *Server, conns []Conn) *post {
	p := &post{Server: s, counts: s.UDPCounts, notices: notices{told: s.Dropped}, rates: newRates(s.RatePerNet)}
	if p.counts == nil {
		p.counts = new(UDPCounts)
	}
	for _, c := range conns {
		p.ports.add(c.LocalAddr().Port())
	}
	n := 1
	if sock.Gathers && allSockets(conns) {
		n = runtime.GOMAXPROCS(0)
		if len(conns) > fewSockets {
			n = min(n, len(conns))
		}
	}
	for range n {
		p.loops = append(p.loops, p.newLoop())
	}
	for i, c := range conns {
		p.spread(i, c, len(conns))
	}
	return p
}

func allSockets(conns []Conn) bool {
	for _, c := range conns {
		if _, ok := c.(*sock.UDP); !ok {
			return false
		}
	}
	return true
}

// spread gives the conn of number i to one loop and, if there are few, a sibling to each of the others. Without siblings one loop does it all.
func (p *post) spread(i int, c Conn, conns int) {
	p.loops[i%len(p.loops)].add(c, bufferOf(conns))
	u, ok := c.(*sock.UDP)
	if !ok || conns > fewSockets {
		return
	}
	for k := 1; k < len(p.loops); k++ {
		sibling, err := u.Sibling()
		if err != nil {
			return
		}
		p.siblings = append(p.siblings, sibling)
		p.loops[(i+k)%len(p.loops)].add(sibling, bufferOf(conns))
	}
}

func (p *post) close() {
	for _, u := range p.siblings {
		_ = u.Close()
	}
}

// tellTotals tells what came to each conn and to its siblings, of those that anything came to.
func (p *post) tellTotals(conns []Conn) {
	if p.Totals == nil {
		return
	}
	sums := make(map[netip.AddrPort]Totals)
	for _, l := range p.loops {
		for _, st := range l.stations {
			t := sums[st.total.Local]
			sums[st.total.Local] = Totals{st.total.Local, t.In + st.total.In, t.Out + st.total.Out}
		}
	}
	for _, c := range conns {
		if t := sums[c.LocalAddr()]; t.In > 0 {
			p.Totals(t)
		}
	}
}

// A loop echoes on some sockets. One goroutine uses it at a time.
type loop struct {
	*post
	guard    *guard
	stations []station
	replies  replies
	now      time.Time // of the batch
	dropped  [reasons]int
	last     [reasons]Drop
	watch
}

// A station is one socket of a loop.
type station struct {
	conn    Conn
	total   Totals
	drops   uint32 // of the kernel, when it was last asked
	watched bool
	small   error // why it may lose datagrams, if its buffer is smaller than wanted
}

func (p *post) newLoop() *loop {
	l := &loop{post: p, guard: newGuard(p.Server, &p.ports, p.rates)}
	if p.Faults.touchesUDP() {
		l.replies = p.Faults.replies()
	}
	return l
}

func (l *loop) add(c Conn, buffer int) {
	st := station{conn: c, total: Totals{Local: c.LocalAddr()}}
	if u, ok := c.(*sock.UDP); ok {
		st.small = grow(u, buffer)
	}
	l.stations = append(l.stations, st)
}

func (l *loop) serve(ctx context.Context) error {
	conns := make([]serve.PacketReader, len(l.stations))
	for i := range l.stations {
		conns[i] = l.stations[i].conn
	}
	err := serve.Receiver{Handle: l.handle, Trouble: l.trouble}.Receive(ctx, conns...)
	l.now = time.Now()
	l.look()
	return err
}

// handle sends back those of ds that the guard lets pass, in ds' own memory. It returns when it wants to be called again.
func (l *loop) handle(place int, ds []sock.Datagram) time.Time {
	l.now = time.Now()
	wake := l.lookIfDue()
	if place != serve.NoPlace {
		l.watchFor(place)
		wake = l.next
		ds = l.judge(&l.stations[place], ds)
	}
	switch {
	case l.replies != nil:
		var c Conn
		if place != serve.NoPlace {
			c = l.stations[place].conn
		}
		wake = earlier(wake, l.replies(c, ds, l.send))
	case len(ds) > 0:
		l.sendBy(&l.stations[place], ds)
	}
	l.tellDrops()
	return wake
}

// judge returns those that are to be echoed.
func (l *loop) judge(st *station, ds []sock.Datagram) []sock.Datagram {
	st.total.In += uint64(len(ds))
	l.counts.In.Add(uint64(len(ds)))
	kept := 0
	for i := range ds {
		d := &ds[i]
		if why := l.guard.judge(d, l.now); why != echoed {
			l.drop(Drop{Why: why, Count: 1, Peer: d.Peer})
			continue
		}
		if kept != i {
			ds[kept] = *d
		}
		kept++
	}
	return ds[:kept]
}

// send sends what was held back, by the station of its conn.
func (l *loop) send(c Conn, ds []sock.Datagram) {
	for i := range l.stations {
		if l.stations[i].conn == c {
			l.sendBy(&l.stations[i], ds)
			return
		}
	}
}

func (l *loop) sendBy(st *station, ds []sock.Datagram) {
	if len(ds) == 0 {
		return
	}
	sent, err := st.conn.WriteBatch(ds)
	if sent < len(ds) {
		l.drop(Drop{Why: Unsent, Count: len(ds) - sent, Err: err})
	}
	st.total.Out += uint64(sent)
	l.counts.Out.Add(uint64(sent))
}

func (l *loop) trouble(err error) {
	l.now = time.Now()
	l.drop(Drop{Why: Unread, Count: 1, Err: err})
	l.tellDrops()
}

func (l *loop) drop(d Drop) {
	l.dropped[d.Why] += d.Count
	l.last[d.Why] = d
}

// tellDrops hands on what was dropped since it was last called.
func (l *loop) tellDrops() {
	for why, n := range l.dropped {
		if n > 0 {
			l.dropped[why] = 0
			l.counts.dropped[why].Add(uint64(n))
			l.last[why].Count = n
			l.notices.add(l.last[why], l.now)
		}
	}
}

// earlier returns the first of two times, the zero time being never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
