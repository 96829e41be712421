package ping

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A sweep is one call of Probe: one goroutine sends, and one for each family hears.
type sweep struct {
	prober *Prober
	own    map[netip.Addr]bool // this machine's addresses
	rng    *mrand.ChaCha8      // of the cookies; the sender's
	errs   [2]error            // why a family has no socket; the sender's
	ears   sync.WaitGroup

	mu     sync.Mutex // guards the rest, so that one reports at a time
	change sync.Cond  // a flight ended, or the sweep did
	report func(probe.Result)
	lines  [2]*line // for IPv4 and IPv6, once there was something to ask
	flying int
	rtt    pace.RTT // of all hosts together
	over   bool     // nothing more will be sent
	ended  bool     // nothing more is waited for
	failed error
}

// A line is one family's socket and what is in flight there.
type line struct {
	sock    *sock.Ping
	seq     uint16 // the last one used
	flights map[uint16]flight
	order   []departure // as they left; some have landed
}

// A flight is a request without an answer yet.
type flight struct {
	probe  probe.Probe
	cookie uint64
	sent   time.Time
}

type departure struct {
	seq    uint16
	cookie uint64 // tells apart the flights that a sequence number has had
}

func newSweep(p *Prober, own map[netip.Addr]bool, report func(probe.Result)) *sweep {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	s := &sweep{prober: p, own: own, report: report, rng: mrand.NewChaCha8(seed)}
	s.change.L = &s.mu
	return s
}

// send asks what is due, until there is no more.
func (s *sweep) send(ctx context.Context, due probe.Due) {
	buf := make([]probe.Probe, batch)
	for room := s.room(); room > 0; room = s.room() {
		n, ok := due.Next(ctx, buf[:min(room, batch)])
		for _, p := range buf[:n] {
			s.launch(ctx, p)
		}
		if !ok {
			return
		}
	}
}

// room waits until another request may fly, and returns how many may; 0 when the sweep has ended.
func (s *sweep) room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.flying >= s.prober.window() && !s.ended {
		s.change.Wait()
	}
	if s.ended {
		return 0
	}
	return s.prober.window() - s.flying
}

// launch sends one request, or gives it back.
func (s *sweep) launch(ctx context.Context, p probe.Probe) {
	l, err := s.line(p.Addr())
	for begin := time.Now(); err == nil && ctx.Err() == nil; {
		seq, cookie := s.depart(l, p)
		err = l.sock.Send(p.Addr(), seq, binary.BigEndian.AppendUint64(nil, cookie))
		if err == nil || !s.withdraw(l, seq) {
			return
		}
		if sock.IsLimit(err) && time.Since(begin) < shortLimit {
			err = nil
			pause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(probe.Result{Target: p.Target, Method: probe.Ping, State: probe.Unsent, Reason: probe.LocalError, Attempt: p.Attempt,
		Control: p.Control, Time: time.Now(), Err: err}) // Err is nil for what an interruption left
}

func pause(ctx context.Context) {
	timer := time.NewTimer(shortPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// line returns the line for an address's family, and opens it if it is the first.
func (s *sweep) line(to netip.Addr) (*line, error) {
	i, source := 0, s.prober.Source4
	if to.Is6() {
		i, source = 1, s.prober.Source6
	}
	if s.lines[i] != nil || s.errs[i] != nil {
		return s.lines[i], s.errs[i]
	}
	socket, err := sock.NewPing(to.Is6(), source, s.prober.Interface)
	if err != nil {
		s.errs[i] = err
		return nil, err
	}
	l := &line{sock: socket, flights: map[uint16]flight{}}
	s.mu.Lock()
	s.lines[i] = l
	s.mu.Unlock()
	s.ears.Go(func() { s.hear(l) })
	return l, nil
}

// depart puts a request on its way: what comes back may come before Send returns.
func (s *sweep) depart(l *line, p probe.Probe) (seq uint16, cookie uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for taken := true; taken; {
		l.seq++
		_, taken = l.flights[l.seq]
	}
	f := flight{probe: p, cookie: s.rng.Uint64(), sent: time.Now()}
	l.flights[l.seq] = f
	l.order = append(l.order, departure{l.seq, f.cookie})
	s.flying++
	if len(l.flights) == 1 {
		s.arm(l)
	}
	return l.seq, f.cookie
}

// withdraw takes back a request that was not sent, false if it is accounted for already.
func (s *sweep) withdraw(l *line, seq uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, flying := l.flights[seq]; !flying {
		return false
	}
	s.landed(l, seq)
	return true
}

func (s *sweep) landed(l *line, seq uint16) {
	delete(l.flights, seq)
	s.flying--
	s.change.Signal()
}

// finish waits for the last answers and closes the sockets.
func (s *sweep) finish() {
	s.mu.Lock()
	s.over = true
	for _, l := range s.lines {
		if l != nil {
			s.arm(l)
		}
	}
	s.mu.Unlock()
	s.ears.Wait()
	for _, l := range s.lines {
		if l != nil {
			_ = l.sock.Close()
		}
	}
}

// end gives up what is in flight.
func (s *sweep) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.change.Signal()
	for _, l := range s.lines {
		if l != nil {
			s.arm(l)
		}
	}
}

// hear takes in what comes to a line, until nothing more can come.
func (s *sweep) hear(l *line) {
	heard := make([]sock.Echo, sock.MaxBatch)
	for {
		// What has not come by now, once all that has come by now is taken in, is silence.
		before := time.Now()
		n, err := l.sock.Read(heard)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			s.fail(err)
			return
		}
		if s.takeIn(l, heard[:n], before, n == len(heard)) {
			return
		}
	}
}

func (s *sweep) fail(err error) {
	s.mu.Lock()
	s.failed = fmt.Errorf("hear echo replies: %w", err)
	s.mu.Unlock()
	s.end()
}

// takeIn deals with what was heard and with what has had its time, and says whether that was all.
func (s *sweep) takeIn(l *line, heard []sock.Echo, before time.Time, more bool) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, e := range heard {
		s.land(l, e, now)
	}
	if !more {
		s.expire(l, before)
	}
	s.arm(l)
	return s.ended || s.over && len(l.flights) == 0
}

// land ends the flight that e is about, if it is about one.
func (s *sweep) land(l *line, e sock.Echo, now time.Time) {
	f, ok := l.flights[e.Seq]
	if !ok || s.ended || e.Peer != whoAnswers(f.probe.Addr()) {
		return
	}
	r := probe.Result{State: probe.Open, Reason: probe.EchoReply, TTL: e.TTL, RTT: now.Sub(f.sent)}
	if e.Refused {
		if r, ok = s.judge(f.probe, e.Refusal); !ok {
			return
		}
	} else if len(e.Data) < 8 || binary.BigEndian.Uint64(e.Data) != f.cookie {
		return
	} else {
		s.rtt.Observe(r.RTT)
	}
	s.landed(l, e.Seq)
	s.tell(f.probe, r, now)
}

func (s *sweep) tell(p probe.Probe, r probe.Result, now time.Time) {
	r.Target, r.Method, r.Attempt, r.Control, r.Time = p.Target, probe.Ping, p.Attempt, p.Control, now
	s.report(r)
}

// expire gives up on what has had its time at now.
func (s *sweep) expire(l *line, now time.Time) {
	for f, ok := l.oldest(); ok && !s.ended && !now.Before(s.deadline(f)); f, ok = l.oldest() {
		s.landed(l, l.order[0].seq)
		s.tell(f.probe, probe.Result{State: probe.Filtered, Reason: probe.NoResponse}, now)
	}
}

// oldest returns the flight that left first of those that fly.
func (l *line) oldest() (flight, bool) {
	for len(l.order) > 0 {
		d := l.order[0]
		if f, ok := l.flights[d.seq]; ok && f.cookie == d.cookie {
			return f, true
		}
		l.order = l.order[1:]
	}
	return flight{}, false
}

// deadline returns until when an answer to f is waited for. A first attempt learns from the others; a later
// one, after a silence, has the whole time.
func (s *sweep) deadline(f flight) time.Time {
	wait := s.prober.Timeout
	if f.probe.Attempt <= 1 && s.rtt.Known() {
		wait = min(wait, max(4*s.rtt.Timeout(), leastWait))
	}
	return f.sent.Add(wait)
}

// arm sets when the line's Read returns though nothing has come.
func (s *sweep) arm(l *line) {
	f, flying := l.oldest()
	switch {
	case s.ended, s.over && !flying:
		_ = l.sock.SetReadDeadline(time.Unix(1, 0))
	case flying:
		_ = l.sock.SetReadDeadline(s.deadline(f))
	default:
		_ = l.sock.SetReadDeadline(time.Time{})
	}
}

// whoAnswers returns the address that a reply comes from: the one asked, without its zone. The unspecified
// address stands for loopback (ip(7)).
func whoAnswers(asked netip.Addr) netip.Addr {
	switch asked {
	case netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return asked.WithZone("")
}

// judge returns what an ICMP error says of a probe, false if nothing. One that this machine sent itself says
// nothing of the target: either nobody answered for the next hop on the link, which is silence, or a
// rule of our own refused.
func (s *sweep) judge(p probe.Probe, e sock.ICMPError) (probe.Result, bool) {
	asked := p.Addr().WithZone("")
	if e.Local || e.From != asked && s.own[e.From] {
		if errors.Is(e.Errno, sock.ErrHostUnreach) {
			return probe.Result{State: probe.Filtered, Reason: probe.NoResponse}, true
		}
		err := fmt.Errorf("a rule of this machine refused to send: %w", error(e.Errno))
		return probe.Result{State: probe.Unsent, Reason: probe.LocalError, Err: err}, true
	}
	icmp := probe.ICMP{Type: e.Type, Code: e.Code}
	reason, ok := probe.ReasonOf(icmp, asked.Is6())
	if !ok {
		return probe.Result{}, false
	}
	r := probe.Result{State: probe.Filtered, Reason: reason, ICMP: icmp}
	if e.From != asked {
		r.From = e.From
	}
	return r, true
}
