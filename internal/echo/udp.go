package echo

import (
	"context"
	"net/netip"
	"time"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// A Conn is a datagram socket: *sock.UDP, or a test's.
type Conn interface {
	ReadBatch([]sock.Datagram) (int, error)
	WriteBatch([]sock.Datagram) (int, error)
	SetReadDeadline(time.Time) error
}

// ServeUDP echoes on c until ctx ends and returns nil then. No datagram's error ends it. It
// leaves c open, and returns an error if somebody else has closed it.
func (s *Server) ServeUDP(ctx context.Context, c Conn) error {
	u := &udpServer{conn: c, guard: newGuard(s.AllowLowPorts, s.RatePerNet), dropped: s.Dropped}
	receiver := serve.Receiver{Handle: u.handle, Trouble: u.trouble}
	err := receiver.Receive(ctx, c)
	u.tell((*serve.Tally).Rest)
	if s.Totals != nil {
		s.Totals(u.totals)
	}
	return err
}

// A udpServer is one call of ServeUDP.
type udpServer struct {
	conn    Conn
	guard   *guard
	dropped func(Drop)
	drops   [reasons]drops
	totals  Totals
}

// drops are those of one reason that wait to be told.
type drops struct {
	tally serve.Tally
	last  Drop
}

// handle sends back those of ds that the guard lets pass, in ds' own memory. It returns when
// it wants to tell of drops.
func (u *udpServer) handle(ds []sock.Datagram) time.Time {
	now := time.Now()
	replies := ds[:0]
	for _, d := range ds {
		u.totals.In++
		if why := u.guard.judge(d, now); why != echoed {
			u.drop(Drop{Why: why, Count: 1, Peer: d.Peer}, now)
			continue
		}
		replies = append(replies, d)
	}
	u.send(replies, now)
	u.tell(func(t *serve.Tally) int { return t.Due(now) })
	return u.wake()
}

func (u *udpServer) send(replies []sock.Datagram, now time.Time) {
	if len(replies) == 0 {
		return
	}
	sent, err := u.conn.WriteBatch(replies)
	if sent < len(replies) {
		u.drop(Drop{Why: Unsent, Count: len(replies) - sent, Err: err}, now)
	}
	u.totals.Out += uint64(sent)
}

func (u *udpServer) trouble(err error) {
	now := time.Now()
	u.drop(Drop{Why: Unread, Count: 1, Err: err}, now)
	u.tell(func(t *serve.Tally) int { return t.Due(now) })
}

func (u *udpServer) drop(d Drop, now time.Time) {
	w := &u.drops[d.Why]
	w.last = d
	u.tellOne(w, w.tally.Add(now, d.Count))
}

// tell tells of the drops that count says are to be told.
func (u *udpServer) tell(count func(*serve.Tally) int) {
	for i := range u.drops {
		u.tellOne(&u.drops[i], count(&u.drops[i].tally))
	}
}

func (u *udpServer) tellOne(w *drops, count int) {
	if count > 0 && u.dropped != nil {
		w.last.Count = count
		u.dropped(w.last)
	}
}

// wake returns when the first drop is due to be told, and the zero time if none waits.
func (u *udpServer) wake() (first time.Time) {
	for i := range u.drops {
		if t := u.drops[i].tally.Wake(); first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

// network returns what shares one rate: the /24 of an IPv4 address, the /64 of an IPv6 one.
func network(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not reached: both are within the address
	}
	return p
}
