package measure

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"sonde/internal/dial"
	"sonde/internal/sock"
)

const mostTogether = 1 << 16 // bytes of payloads that one write carries at most, but for one that is larger

// send sends what may be sent until the connection or ctx ends.
func (f *flow) send(ctx context.Context) error {
	write := f.writeStream
	if udp, ok := f.conn.(*net.UDPConn); ok {
		write = func(n int) error { return f.writeDatagrams(udp, n) }
	}
	for {
		n := f.allowed()
		if n > 0 {
			if err := write(n); err != nil {
				return err
			}
			continue
		}
		select {
		case <-f.awake:
		case <-ctx.Done():
			return nil
		}
	}
}

// allowed returns how many probes may be sent now.
func (f *flow) allowed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return 0
	}
	room := max(1, mostTogether/f.run.Size)
	if f.run.table != nil {
		return int(min(f.due.Load()-f.sent, uint64(room)))
	}
	n := 0
	free := min(f.run.window()-int(f.track.Pending), room)
	for f.claimed = max(free, 0); n < free && f.run.tickets.Add(-1) >= 0; n++ {
	}
	f.claimed = n
	return n
}

// compose writes the next n payloads into the buffer: before they are said to be sent, for that takes time.
func (f *flow) compose(n int) []byte {
	size := f.run.Size
	if len(f.buf) < n*size {
		f.buf = make([]byte, n*size)
	}
	for i := range n {
		f.run.codec.Put(f.buf[i*size:(i+1)*size], f.id, f.track.next+uint64(i))
	}
	return f.buf[:n*size]
}

// note says that the next n payloads are being sent. It returns false if it is too late for that.
func (f *flow) note(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	now := f.run.now()
	if f.sentFirst < 0 {
		f.sentFirst = now
	}
	if f.firstSent < 0 {
		f.firstSent = now
	}
	f.sentLast, f.claimed = now, f.claimed-min(n, f.claimed)
	for range n {
		intended := now
		if f.run.table != nil {
			at := f.run.table.At(f.track.next*uint64(len(f.run.flows)) + uint64(f.index))
			intended = at.Sub(f.run.start)
		}
		f.track.send(intended, now)
		f.sent++
	}
	return true
}

func (f *flow) writeStream(n int) error {
	p := f.compose(n)
	if !f.note(n) {
		return nil
	}
	_, err := f.conn.Write(p)
	f.took()
	return err
}

// heldUp is how long a write takes at least that is said to have waited: for the peer to read, mostly. A shorter one may have
// waited for a processor.
const heldUp = 100 * time.Millisecond

// took notes how long the write that was noted last has taken.
func (f *flow) took() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if took := f.run.now() - f.sentLast; took > heldUp {
		f.held += took
	}
}

// writeDatagrams sends the next n payloads, each in a datagram.
func (f *flow) writeDatagrams(udp *net.UDPConn, n int) error {
	p := f.compose(n)
	for size := f.run.Size; len(p) > 0; p = p[size:] {
		if !f.note(1) {
			return nil
		}
		switch err := f.writeDatagram(udp, p[:size]); {
		case err == nil:
		case errors.Is(err, syscall.EPERM):
			f.unsend(errors.New(f.trouble.OwnFirewall()), true)
		case short(err):
			f.unsend(err, false)
		default:
			return err
		}
	}
	return nil
}

// writeDatagram sends one. A write that returns the refusal of an earlier datagram did not send its own (udp(7)), and is
// done again.
func (f *flow) writeDatagram(udp *net.UDPConn, p []byte) error {
	for try := 1; ; try++ {
		_, err := udp.Write(p)
		if err == nil {
			return nil
		}
		refusal, ok := explain(f.trouble, err)
		if !ok || try == 16 { // each needs a refusal of its own, and only what was sent is refused
			return err
		}
		f.refused(refusal)
	}
}

// short reports whether this machine has no buffer for a datagram at the moment.
func short(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// unsend takes back the probe that was noted last, which did not leave this machine. The first time it is told of, if it is to be.
func (f *flow) unsend(why error, tell bool) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	seq := f.track.unsend()
	if tell && f.track.Unsent == 1 {
		f.run.event(Event{Kind: Refused, Conn: f.index, Err: why})
	}
	if f.run.Reply != nil {
		f.run.reply(Reply{Conn: f.index, Seq: seq, Fate: Unsent, Err: why})
	}
	f.mu.Unlock()
	f.moved()
}

// refused takes a refusal: the first on a connection is told of, and each gives up a probe.
func (f *flow) refused(r dial.Refusal) {
	err := &RefusedError{r}
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.track.Refused++
	if f.track.Refused == 1 {
		f.run.event(Event{Kind: Refused, Conn: f.index, Err: err})
	}
	f.why = err
	f.track.refuse(f.lost)
	f.why = nil
	f.mu.Unlock()
	f.moved()
}

// receiveDatagrams reads until the socket is closed.
func (f *flow) receiveDatagrams(udp *net.UDPConn) error {
	trouble := f.trouble
	_ = udp.SetReadBuffer(receiveRoom / f.run.Connections) // the system's own most, if that is less
	buf := make([]byte, min(f.run.Size+1, 1<<16))          // what is longer than was sent is noticed
	for {
		n, err := udp.Read(buf)
		if err == nil {
			f.check(buf[:n])
			continue
		}
		refusal, ok := explain(trouble, err)
		if !ok {
			return err
		}
		f.refused(refusal)
	}
}

// receiveRoom is how many bytes of replies may wait to be read on all sockets of a run.
const receiveRoom = 1 << 26

// countDrops notes how many replies found no room: they are lost, and were not on the path.
func (f *flow) countDrops(udp *net.UDPConn) {
	n, err := sock.Drops(udp)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped += uint64(n)
}

// check takes a datagram.
func (f *flow) check(p []byte) {
	now := f.run.now()
	f.mu.Lock()
	if !f.ended {
		f.hear(now)
		f.received(f.run.codec.Check(p, Expectation{Size: f.run.Size, Flow: f.id, Low: f.track.tail, High: f.track.next}))
	}
	f.mu.Unlock()
	f.moved()
}
