package echo

import (
	"net/netip"
	"slices"
	"time"

	"sonde/internal/sock"
)

const (
	// reorderWait is how long a reply waits to be overtaken by the next one of its peer.
	reorderWait = 100 * time.Millisecond
	// mostReplies is how many bytes of replies are held back at the same time; a short one counts as replyCost at least.
	mostReplies = 32 << 20
	replyCost   = 128
	// mostPeers is how many peers have a generator at the same time. Then all are forgotten, and begin anew.
	mostPeers = 4096
)

// replies returns what treats the replies of one loop.
func (f *Faults) replies() replies {
	r := &faultyReplies{faults: f, peers: make(map[netip.AddrPort]*faultyPeer)}
	return r.treat
}

// faultyReplies are the replies that a loop holds back. One goroutine uses them.
type faultyReplies struct {
	faults *Faults
	peers  map[netip.AddrPort]*faultyPeer
	queue  []lateReply   // the next one due first
	held   []*faultyPeer // those of whom one waits to be overtaken, the longest waiting first
	size   int           // of what is held back
	batch  []sock.Datagram
}

// A faultyPeer is what decides over the replies to one peer.
type faultyPeer struct {
	fate   fate
	bits   corrupter
	behind *lateReply // waits to be overtaken
	until  time.Time  // not longer than that
}

// A lateReply waits for its time.
type lateReply struct {
	conn   Conn
	packet sock.Datagram
	due    time.Time
	copies int
}

// treat decides over ds, sends what is due and returns when more will be. See replies.
func (r *faultyReplies) treat(c Conn, ds []sock.Datagram, send func(Conn, []sock.Datagram)) time.Time {
	now := time.Now()
	for _, d := range ds {
		r.one(lateReply{c, d, now.Add(r.faults.Delay), 1})
	}
	r.release(now)
	r.flush(now, send)
	return r.wake()
}

// one decides over one reply.
func (r *faultyReplies) one(reply lateReply) {
	p, done := r.peer(reply.packet.Peer), &r.faults.Done
	lost, twice, behind := p.fate.next(r.faults)
	switch {
	case lost:
		done.Lost.Add(1)
		return
	case r.size > mostReplies:
		done.Overflowed.Add(1)
		return
	case twice:
		reply.copies = 2
		done.Doubled.Add(1)
	}
	p.bits.flip(reply.packet.Data)
	if behind && p.behind == nil {
		reply.keep()
		p.behind, p.until = &reply, time.Now().Add(reorderWait)
		r.held = append(r.held, p)
		r.size += reply.cost()
		return
	}
	r.push(reply)
	if p.behind != nil {
		done.Reordered.Add(1)
		r.letGo(p, reply.due)
		r.held = slices.DeleteFunc(r.held, func(q *faultyPeer) bool { return q == p })
	}
}

// push puts a reply behind those that are due before it or with it. Nearly always those are all: who waited to be overtaken in vain has
// part of its delay behind it.
func (r *faultyReplies) push(reply lateReply) {
	if r.faults.Delay > 0 {
		reply.keep()
	}
	place := len(r.queue)
	for place > 0 && r.queue[place-1].due.After(reply.due) {
		place--
	}
	r.queue = slices.Insert(r.queue, place, reply)
	r.size += reply.cost()
}

// letGo gives what was to be overtaken another time.
func (r *faultyReplies) letGo(p *faultyPeer, due time.Time) {
	reply := *p.behind
	p.behind = nil
	r.size -= reply.cost()
	reply.due = due
	r.push(reply)
}

// release lets go those that nobody overtook in time. Their delay goes on.
func (r *faultyReplies) release(now time.Time) {
	for len(r.held) > 0 && !now.Before(r.held[0].until) {
		p := r.held[0]
		r.letGo(p, later(p.until, p.behind.due))
		r.held = slices.Delete(r.held, 0, 1)
	}
}

// flush sends what is due, what goes by one conn together.
func (r *faultyReplies) flush(now time.Time, send func(Conn, []sock.Datagram)) {
	n := 0
	for ; n < len(r.queue) && !r.queue[n].due.After(now); n++ {
		reply := &r.queue[n]
		if n > 0 && reply.conn != r.queue[n-1].conn {
			r.sendBatch(r.queue[n-1].conn, send)
		}
		for range reply.copies {
			r.batch = append(r.batch, reply.packet)
		}
		r.size -= reply.cost()
	}
	if n > 0 {
		r.sendBatch(r.queue[n-1].conn, send)
		clear(r.queue[:n])
		r.queue = r.queue[n:]
	}
}

func (r *faultyReplies) sendBatch(c Conn, send func(Conn, []sock.Datagram)) {
	send(c, r.batch)
	clear(r.batch)
	r.batch = r.batch[:0]
}

// wake returns when something is due, and the zero time if nothing waits.
func (r *faultyReplies) wake() (first time.Time) {
	if len(r.queue) > 0 {
		first = r.queue[0].due
	}
	if len(r.held) > 0 {
		first = earlier(first, r.held[0].until)
	}
	return first
}

// peer returns what decides over a peer's replies. Peers are numbered as they come.
func (r *faultyReplies) peer(addr netip.AddrPort) *faultyPeer {
	if p := r.peers[addr]; p != nil {
		return p
	}
	if len(r.peers) >= mostPeers {
		clear(r.peers)
	}
	f, number := r.faults, r.faults.peers.Add(1)
	p := &faultyPeer{fate: fate{f.generator(ofPeer + number)}, bits: newCorrupter(f.Corrupt, f.generator(ofPeersBits+number), &f.Done)}
	r.peers[addr] = p
	return p
}

// later returns the second of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// keep makes the reply's bytes its own.
func (l *lateReply) keep() { l.packet.Data = append([]byte{}, l.packet.Data...) }

func (l *lateReply) cost() int { return len(l.packet.Data) + replyCost }
