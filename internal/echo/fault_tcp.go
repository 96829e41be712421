package echo

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sonde/internal/serve"
)

const (
	// mostDelayed is how many bytes of a connection are held back at the same time, and mostDelayedInAll of all connections together, each
	// part of them counting partCost more. A client that sends more has to wait until it gets some of it, but may have one part on its way.
	mostDelayed      = 4 << 20
	mostDelayedInAll = 64 << 20
	partCost         = 128
	// takenWithin is how long a client that is to be reset has to take what was echoed.
	takenWithin = time.Second
	// cutCheck is how long a connection that waits for an echo's time may not notice that it was cut.
	cutCheck = 100 * time.Millisecond
)

// echo answers one connection to its end, with the faults of its number.
func (f *Faults) echo(c *serve.Conn) error {
	w := &faultyWriter{faults: f, conn: c, bits: newCorrupter(f.Corrupt, f.generator(ofStream+f.streams.Add(1)), &f.Done)}
	if f.Delay > 0 {
		return f.echoLater(c, w)
	}
	for {
		data, err := c.Next()
		if err != nil {
			return err
		}
		if err := w.write(data); err != nil {
			return err
		}
	}
}

// ErrReset is the Err of connections that Faults.ResetAfter ended.
var ErrReset = fmt.Errorf("%w: reset on purpose", serve.ErrDone)

// A faultyWriter sends to one client.
type faultyWriter struct {
	faults *Faults
	conn   *serve.Conn
	bits   corrupter
	echoed uint64
}

// write sends data, which it changes. It returns ErrReset when the connection is to be reset.
func (w *faultyWriter) write(data []byte) error {
	reset := false
	if most := w.faults.ResetAfter; most > 0 && w.echoed+uint64(len(data)) >= most {
		data, reset = data[:most-w.echoed], true
	}
	w.bits.flip(data)
	for len(data) > 0 {
		n := len(data)
		if w.faults.Slice > 0 {
			n = min(n, w.faults.Slice)
		}
		if _, err := w.conn.Write(data[:n]); err != nil {
			return err
		}
		w.echoed += uint64(n)
		data = data[n:]
	}
	if !reset {
		return nil
	}
	w.conn.AwaitTaken(takenWithin)
	w.faults.Done.Resets.Add(1)
	w.conn.Reset()
	return ErrReset
}

// echoLater reads on while what came before waits for its time. Two goroutines use the connection, one each way.
func (f *Faults) echoLater(c *serve.Conn, w *faultyWriter) error {
	q := newDelayed(&f.delayed)
	defer q.forget()
	var written error
	var group sync.WaitGroup
	group.Go(func() {
		written = w.drain(q)
		q.abandon()
	})
	read := f.fill(c, q)
	q.finish()
	group.Wait()
	if written != nil {
		return written
	}
	return read
}

// fill queues what comes until the connection's end, or until nobody takes it any more.
func (f *Faults) fill(c *serve.Conn, q *delayed) error {
	for {
		data, err := c.Next()
		if err != nil {
			return err
		}
		if !q.put(data, time.Now().Add(f.Delay)) {
			return nil
		}
	}
}

// drain sends what is queued when it is due, until the queue ends.
func (w *faultyWriter) drain(q *delayed) error {
	for {
		part, ok := q.take()
		if !ok {
			return nil
		}
		for wait := time.Until(part.due); wait > 0; wait = time.Until(part.due) {
			time.Sleep(min(wait, cutCheck))
			if _, err := w.conn.Write(nil); err != nil { // the connection was cut
				return err
			}
		}
		if err := w.write(part.data); err != nil {
			return err
		}
	}
}

// delayed is a queue of bounded size between two goroutines.
type delayed struct {
	mu        sync.Mutex
	changed   *sync.Cond
	parts     []delayedPart
	size      int           // of the parts
	all       *atomic.Int64 // and of all queues' parts
	ended     bool          // nothing more comes
	abandoned bool          // nobody takes any more
}

type delayedPart struct {
	data []byte
	due  time.Time
}

func newDelayed(all *atomic.Int64) *delayed {
	q := &delayed{all: all}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// put queues a copy of data, when there is room. It returns false if nobody takes it.
func (q *delayed) put(data []byte, due time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.parts) > 0 && !q.abandoned && (q.size+len(data) > mostDelayed || q.all.Load() > mostDelayedInAll) {
		q.changed.Wait()
	}
	if q.abandoned {
		return false
	}
	part := delayedPart{append([]byte(nil), data...), due}
	q.parts = append(q.parts, part)
	q.grow(part.cost())
	q.changed.Broadcast()
	return true
}

// take returns the oldest part, when there is one. It returns false when there will be none.
func (q *delayed) take() (delayedPart, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.parts) == 0 && !q.ended {
		q.changed.Wait()
	}
	if len(q.parts) == 0 {
		return delayedPart{}, false
	}
	part := q.parts[0]
	q.parts[0] = delayedPart{}
	q.parts = q.parts[1:]
	q.grow(-part.cost())
	q.changed.Broadcast()
	return part, true
}

func (p delayedPart) cost() int { return len(p.data) + partCost }

func (q *delayed) grow(n int) {
	q.size += n
	q.all.Add(int64(n))
}

// forget drops what nobody took.
func (q *delayed) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.parts = nil
	q.grow(-q.size)
}

func (q *delayed) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.changed.Broadcast()
}

func (q *delayed) abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.abandoned = true
	q.changed.Broadcast()
}
