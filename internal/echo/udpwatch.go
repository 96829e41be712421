package echo

import (
	"fmt"
	"time"

	"sonde/internal/sock"
)

// A watch looks for datagrams that the kernel has thrown away. That happens when a socket's queue is full, and what is in it is read
// afterwards: so a socket that was read from is looked at, a second later at the latest, and an idle server sleeps.
type watch struct {
	watched []int     // places of sockets that were read from since they were looked at
	next    time.Time // when to look
}

// lookEvery is how often at most.
const lookEvery = time.Second

// watchFor takes note that a socket was read from.
func (l *loop) watchFor(place int) {
	if st := &l.stations[place]; !st.watched {
		if st.watched = true; len(l.watched) == 0 {
			l.next = l.now.Add(lookEvery)
		}
		l.watched = append(l.watched, place)
	}
}

// lookIfDue returns when it is due next.
func (l *loop) lookIfDue() time.Time {
	if len(l.watched) > 0 && !l.now.Before(l.next) {
		l.look()
	}
	return l.next
}

func (l *loop) look() {
	for _, place := range l.watched {
		st := &l.stations[place]
		st.watched = false
		u, ok := st.conn.(*sock.UDP)
		if !ok {
			continue
		}
		if drops, err := u.Drops(); err == nil && drops != st.drops {
			n := drops - st.drops // right when the count has begun anew, too
			st.drops = drops
			l.counts.KernelDrops.Add(uint64(n))
			l.drop(Drop{Why: Overrun, Count: int(n), Err: st.small})
		}
	}
	l.watched, l.next = l.watched[:0], time.Time{}
	l.tellDrops()
}

// Sizes of a socket's receive buffer, as the kernel counts: a short datagram takes some 800 bytes of it.
const (
	fullBuffer = 8 << 20   // enough for the datagrams of 10 ms, at a million a second
	allBuffers = 128 << 20 // of all sockets together
)

// bufferOf returns the size that each of so many sockets is to have.
func bufferOf(conns int) int { return min(fullBuffer, allBuffers/conns) }

// grow makes u's buffer as large. The error says that the system does not let it, for the user to whom datagrams are lost.
func grow(u *sock.UDP, size int) error {
	now, err := u.GrowBuffer(size)
	if err != nil || now >= size {
		return nil //nolint:nilerr // a system that does not tell is no reason to tell the user
	}
	return fmt.Errorf("the receive buffer has %d KB; sysctl net.core.rmem_max=%d lets it have %d KB", now>>10, size/2, size>>10)
}
