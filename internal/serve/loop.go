package serve

import (
	"sync"
	"sync/atomic"
	"time"

	"sonde/internal/sock"
)

// A loop serves connections without a goroutine for each. All that happens to one happens in the loop's goroutine, which waits for
// nothing but its sockets; what others want of it, they order.
//
// A connection is in one of three lists, by what is waited for, each with its time-out. While a peer does not read what it was
// sent, nothing is read from it.
type loop struct {
	poll    *sock.Loop
	answer  func([]byte) []byte
	counts  *Counts
	ended   func(*record)
	buffers *sock.Buffers
	open    atomic.Int64 // connections, those on order included

	began     time.Time
	now       time.Duration // since then, when the last batch came
	conns     []*loopConn   // by the key of the stream
	buffer    *largeBuffer  // what is read, until it is answered
	kept      int           // large rests
	in, out   uint64        // of this batch
	reading   waiting       // for the peer to send
	writing   waiting       // for the peer to read
	lingering waiting       // for the peer's FIN, after ours
	stopping  bool

	mu     sync.Mutex
	orders orders
}

// orders are what a loop is to do when it has time.
type orders struct {
	arrivals        []*loopConn
	stop, cut, quit bool
	quiet           time.Duration
}

// A loopConn is a connection that a loop serves.
type loopConn struct {
	record
	stream     *sock.Stream
	list       *waiting
	prev, next *loopConn
	since      time.Duration // its last progress, since the loop began
	untaken    int           // of what was sent, then, if it waits for the peer to read
	unsent     []byte        // of the last answer; a part of small or large
	small      *sock.Buffer
	large      *largeBuffer
}

func newLoop(poll *sock.Loop, ls *loops) *loop {
	idle := ls.idle
	if idle == 0 {
		idle = never
	}
	return &loop{poll: poll, answer: ls.answer, counts: ls.counts, ended: ls.ended, began: time.Now(), buffer: new(largeBuffer), buffers: &ls.buffers,
		reading: waiting{timeout: idle}, writing: waiting{timeout: idle}, lingering: waiting{timeout: lingerTime}}
}

// order has the loop do something.
func (l *loop) order(set func(*orders)) {
	l.mu.Lock()
	set(&l.orders)
	l.mu.Unlock()
	l.poll.Wake()
}

func (l *loop) run() {
	defer l.poll.Close()
	for {
		ready := l.poll.Wait(l.patience())
		l.now = time.Since(l.began)
		for _, key := range ready {
			if c := l.conns[key]; c != nil {
				l.serve(c)
			}
		}
		l.expire()
		l.count()
		if !l.obey() {
			return
		}
	}
}

// patience returns how long to wait for sockets.
func (l *loop) patience() time.Duration {
	due := min(l.reading.due(), l.writing.due(), l.lingering.due())
	if due == never {
		return -1
	}
	return max(due-l.now, 0)
}

// obey does what was ordered. It returns false when the loop is to end.
func (l *loop) obey() bool {
	l.mu.Lock()
	o := l.orders
	l.orders = orders{}
	l.mu.Unlock()
	for _, c := range o.arrivals {
		l.begin(c)
	}
	if o.stop {
		l.stop(o.quiet)
	}
	if o.cut {
		l.cut()
	}
	return !o.quit
}

// count adds what the last batch brought to the counts.
func (l *loop) count() {
	if l.in > 0 {
		l.counts.In.Add(l.in)
	}
	if l.out > 0 {
		l.counts.Out.Add(l.out)
	}
	l.in, l.out = 0, 0
}

func (l *loop) begin(c *loopConn) {
	c.since = l.now
	l.reading.push(c)
	key := c.stream.Key()
	if key >= len(l.conns) {
		l.conns = append(l.conns, make([]*loopConn, max(key+1-len(l.conns), len(l.conns)))...)
	}
	l.conns[key] = c
	if err := l.poll.Watch(c.stream); err != nil {
		l.end(c, err)
	}
}

// stop lets the quiet end: from now on nothing need come for quiet only. Without that there is nothing to tell the quiet by.
func (l *loop) stop(quiet time.Duration) {
	l.stopping = true
	l.reading.timeout, l.reading.from = never, l.now
	if quiet > 0 {
		l.reading.timeout = quiet
	}
	l.lingering.timeout = never
}

func (l *loop) cut() {
	for _, list := range []*waiting{&l.reading, &l.writing} {
		for c := list.first; c != nil; c = list.first {
			l.end(c, errCut)
		}
	}
	for c := l.lingering.first; c != nil; c = l.lingering.first {
		l.end(c, c.err)
	}
}

// expire ends who has waited too long.
func (l *loop) expire() {
	for l.reading.due() <= l.now {
		c := l.reading.first
		if l.stopping {
			l.halfClose(c, errStopped)
		} else {
			l.halfClose(c, &IdleError{For: l.reading.timeout})
		}
	}
	for l.writing.due() <= l.now {
		if c := l.writing.first; c.stream.Untaken() < c.untaken {
			l.waitToWrite(c)
		} else {
			l.end(c, &IdleError{For: l.writing.timeout, Write: true})
		}
	}
	for l.lingering.due() <= l.now {
		l.end(l.lingering.first, l.lingering.first.err)
	}
}

// wait has c wait in a list, from now on.
func (l *loop) wait(c *loopConn, list *waiting) {
	c.since = l.now
	if list.last != c {
		c.list.remove(c)
		list.push(c)
	}
}

// waitToWrite has c wait for the peer to read. One that reads slowly makes no room to send more for long, and progress all the same.
func (l *loop) waitToWrite(c *loopConn) {
	l.wait(c, &l.writing)
	if l.writing.timeout != never {
		c.untaken = c.stream.Untaken()
	}
}

// end closes a connection. What the peer did not read must not stay with us: then the close is a reset.
func (l *loop) end(c *loopConn, err error) {
	c.err = err
	if len(c.unsent) > 0 {
		_ = c.stream.SetLinger(0)
		l.letGo(c)
	}
	c.list.remove(c)
	l.conns[c.stream.Key()] = nil
	_ = c.stream.Close()
	l.open.Add(-1)
	l.ended(&c.record)
}
