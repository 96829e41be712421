package measure

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sonde/internal/dial"
	"sonde/internal/sock"
)

// A flow is one connection of a run and the probes on it. Its goroutine makes it, sends, and makes it again when it
// broke; another receives while it stands.
type flow struct {
	run   *run
	index int
	due   atomic.Uint64 // probes handed out by the timetable
	awake chan struct{} // something may be sent

	// Of the flow's own goroutine.
	conn    net.Conn      // nil: there is none
	trouble *dial.Trouble // of a UDP socket; its receiver's too
	opened  time.Time
	times   int    // that it was opened
	buf     []byte // what is sent

	mu                  sync.Mutex // guards all below
	track               tracker
	sent                uint64 // of due: those sent or passed over
	claimed             int    // of a closed loop: those that are about to be sent
	id                  uint64
	stream              *Stream
	now                 time.Duration // when what is looked at came
	firstSent           time.Duration // on this connection; below 0: not yet
	firstHeard          bool
	sentFirst, sentLast time.Duration // of all; below 0: never
	held                time.Duration // by a peer that did not read
	dropped             uint64
	down                bool // there is no connection
	closed              bool // the peer has ended one
	ended               bool
	why                 error // what probes are given up for; nil: the time-out

	found func(uint64, *Damage)
	lost  func(uint64, slot)
}

func newFlow(r *run, i int) *flow {
	inFlight := r.window()
	if r.Rate > 0 {
		inFlight = int(min(r.Rate*r.Timeout.Seconds()/float64(r.Connections), 1<<20))
	}
	f := &flow{run: r, index: i, awake: make(chan struct{}, 1), track: newTracker(r.Timeout, inFlight), sentFirst: -1, down: true}
	f.found, f.lost = f.received, f.givenUp
	return f
}

// wake makes the sender look whether it may send.
func (f *flow) wake() {
	select {
	case f.awake <- struct{}{}:
	default:
	}
}

// open makes the connection.
func (f *flow) open(ctx context.Context) error {
	f.opened = time.Now()
	conn, phases, err := f.run.Dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.run.event(Event{Kind: NotOpen, Conn: f.index, Err: err})
		}
		return err
	}
	f.begin(conn)
	f.run.alive.Add(1)
	f.run.opened(f.index, conn, phases)
	return nil
}

// opened takes note of a connection and tells of it.
func (r *run) opened(index int, conn net.Conn, phases Phases) {
	_, udp := conn.(*net.UDPConn)
	r.mu.Lock()
	if !udp {
		r.connect.Record(phases.Connect)
	}
	if phases.TLS > 0 {
		r.tls.Record(phases.TLS)
	}
	r.mu.Unlock()
	r.event(Event{Kind: Opened, Conn: index, Phases: phases, Local: conn.LocalAddr(), Remote: conn.RemoteAddr()})
}

// begin makes the flow ready for a connection. What fell due while there was none was not sent.
func (f *flow) begin(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn = conn
	if udp, ok := conn.(*net.UDPConn); ok {
		f.trouble = dial.NewTrouble(udp)
	}
	if !f.ended {
		f.down = false
		f.passOver()
	}
	f.id = f.run.codec.Flow(f.index, f.times)
	f.times++
	f.stream = NewStream(f.run.codec, f.run.Size, f.id, f.track.next, f.found)
	f.firstSent, f.firstHeard = -1, false
}

// live holds the connection until ctx ends.
func (f *flow) live(ctx context.Context) {
	for ctx.Err() == nil {
		if f.conn == nil {
			f.reopen(ctx)
			continue
		}
		err := f.converse(ctx)
		f.conn = nil
		f.run.alive.Add(-1)
		if ctx.Err() == nil {
			f.broke(err)
		}
	}
	f.sever()
}

// reopen makes the connection again, a second after the last attempt.
func (f *flow) reopen(ctx context.Context) {
	wait := time.NewTimer(time.Until(f.opened.Add(again)))
	defer wait.Stop()
	select {
	case <-wait.C:
		if f.open(ctx) != nil {
			f.missed()
		}
	case <-ctx.Done():
	}
}

// broke takes note of a connection that ended.
func (f *flow) broke(err error) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.stream.Close()
	lost := f.track.Pending
	f.giveUp(err)
	f.track.Broken++
	f.unsent(uint64(f.claimed), err)
	f.down, f.claimed = true, 0
	if ending := sock.EndingOf(err); ending == sock.ByPeer || ending == sock.Reset {
		f.closed = true
	}
	hungUp := f.run.alive.Load() == 0 && !f.run.heard.Load()
	if hungUp {
		f.run.fail(&HangupError{err}) // before the run is seen to be over
	}
	f.mu.Unlock()
	if hungUp {
		return
	}
	f.run.settle()
	f.run.event(Event{Kind: Broken, Conn: f.index, Lost: lost, Err: err})
}

// giveUp loses all that is in flight, for err. The lock is held.
func (f *flow) giveUp(err error) {
	if f.why = err; err == nil {
		f.why = io.EOF
	}
	f.track.abandon(f.lost)
	f.why = nil
}

// converse sends and receives until the connection or ctx ends, and returns why the connection did.
func (f *flow) converse(ctx context.Context) error {
	received := make(chan error, 1)
	over, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		err := f.receive()
		stop()
		received <- err
	}()
	woken := make(chan struct{})
	unwatched := context.AfterFunc(over, func() { // a write that waits for a peer that does not read ends
		_ = f.conn.SetWriteDeadline(time.Unix(1, 0))
		close(woken)
	})
	err := f.send(over)
	if !unwatched() {
		<-woken
	}
	if udp, ok := f.conn.(*net.UDPConn); ok {
		f.countDrops(udp)
	}
	if ctx.Err() != nil {
		f.part()
		return <-received
	}
	if over.Err() != nil { // the receiver knows better
		err = nil
	}
	dial.Abandon(f.conn)
	if heard := <-received; err == nil {
		err = heard
	}
	return err
}

// part ends a connection that stands, in order if the plan does not say otherwise: our FIN, what still comes, the peer's FIN.
func (f *flow) part() {
	half, ok := f.conn.(interface{ CloseWrite() error })
	if f.run.Abrupt || !ok || f.conn.SetDeadline(time.Now().Add(parting)) != nil || half.CloseWrite() != nil {
		dial.Abandon(f.conn)
	}
}

// sever ends a connection that nobody holds.
func (f *flow) sever() {
	if f.conn != nil {
		dial.Abandon(f.conn)
		f.conn = nil
	}
}

// receive reads until the connection ends, and returns why.
func (f *flow) receive() error {
	conn := f.conn
	defer func() { _ = conn.Close() }()
	if udp, ok := conn.(*net.UDPConn); ok {
		return f.receiveDatagrams(udp)
	}
	buf := make([]byte, min(max(f.run.Size, 1<<12), 1<<16))
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			f.feed(buf[:n])
		}
		if err != nil {
			return err
		}
	}
}

// Reads and writes that end because the connection is over do not say more than that.
func isOver(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF)
}

// explain returns the refusal behind an error of a UDP socket.
func explain(t *dial.Trouble, err error) (dial.Refusal, bool) {
	if isOver(err) || sock.EndingOf(err) == sock.TimedOut {
		return dial.Refusal{}, false
	}
	return t.Explain(err)
}
