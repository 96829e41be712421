package udp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sonde/internal/payload"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// hear deals with what a line has heard and with the flights whose time has come, and lets it listen on.
func (s *sweep) hear(l *line) error {
	if l.err != nil && !isTimeout(l.err) {
		return fmt.Errorf("hear UDP answers: %w", l.err)
	}
	now, dropped := time.Now(), l.dropped
	for i := range l.heard[:l.n] {
		h := &l.heard[i]
		l.dropped = max(l.dropped, h.Dropped)
		if h.Refused {
			s.landRefusal(l, h, now)
		} else {
			s.landReply(l, h, now)
		}
	}
	if l.dropped > dropped {
		s.lose(l, fmt.Errorf("the receive buffer overflowed: %d answers were lost", l.dropped-dropped), now)
	}
	if l.n < len(l.heard) {
		s.expire(l, l.before)
	}
	l.arm()
	l.resume <- struct{}{}
	return nil
}

// landReply ends the flight that a datagram answers, if it answers one.
func (s *sweep) landReply(l *line, h *sock.Heard, now time.Time) {
	asked := h.Peer
	if s.flights[asked] == nil {
		asked = s.elsewhere(h)
	}
	if !payload.Answers(asked.Port(), s.token(asked), h.Data) {
		return
	}
	r := probe.Result{State: probe.Open, Reason: probe.UDPResponse, TTL: h.TTL, Reply: bytes.Clone(h.Data[:min(len(h.Data), mostReply)])}
	s.land(l, asked, r, now)
}

// tftp is the one port whose service answers from another (payload.Elsewhere; RFC 1350 section 4).
const tftp = 69

// elsewhere returns the target that a datagram may answer though it came from another port, and if there is none the
// port that it came from.
func (s *sweep) elsewhere(h *sock.Heard) netip.AddrPort {
	asked := netip.AddrPortFrom(h.Peer.Addr(), tftp)
	if s.flights[asked] != nil {
		return asked
	}
	return h.Peer
}

// landRefusal ends the flight that an ICMP error is about.
func (s *sweep) landRefusal(l *line, h *sock.Heard, now time.Time) {
	r, ok := s.judge(h.Peer.Addr(), h.Refusal)
	if !ok {
		return
	}
	r.TTL = h.TTL
	s.land(l, h.Peer, r, now)
}

// land reports what came of the flight to asked. Without one it is an answer to an earlier probe, which was waited for too
// briefly, and is kept for the next.
func (s *sweep) land(l *line, asked netip.AddrPort, r probe.Result, now time.Time) {
	h := s.hosts[asked.Addr()]
	if h == nil {
		return
	}
	f := s.flights[asked]
	if r.State != probe.Unsent && (r.ICMP != probe.ICMP{}) {
		h.budget.refused(f != nil && f.probe.Control)
	}
	if f == nil {
		h.keep(asked.Port(), r)
		return
	}
	if f.probe.Attempt <= 1 && r.State != probe.Unsent && !r.Reason.Silent() {
		r.RTT = max(1, now.Sub(f.sent))
		h.observe(r.RTT)
	}
	s.end(l, f, r, now)
}

// end reports a flight, and lets others go.
func (s *sweep) end(l *line, f *flight, r probe.Result, now time.Time) {
	l.flights.remove(f)
	delete(s.flights, answersAs(f.probe))
	s.leavePipe(f)
	f.host.flying--
	s.tell(f.probe, r, now)
	s.enqueue(f.host, now)
	s.release(f.host)
}

func (s *sweep) leavePipe(f *flight) {
	if f.inPipe {
		f.inPipe = false
		f.host.inPipe--
		s.inPipe--
	}
}

func (s *sweep) tell(p probe.Probe, r probe.Result, now time.Time) {
	r.Target, r.Method, r.Attempt, r.Control, r.Time = p.Target, probe.Datagram, p.Attempt, p.Control, now
	s.report(r)
}

// unsent is the result of a probe that this machine did not send, and why: nil if it was interrupted.
func unsent(err error) probe.Result {
	return probe.Result{State: probe.Unsent, Reason: probe.LocalError, Err: err}
}

// expire looks at the flights whose time to be looked at has come by now, and gives up on those that have had their time.
func (s *sweep) expire(l *line, now time.Time) {
	for len(l.flights) > 0 && !l.flights[0].at.After(now) {
		f := l.flights[0]
		age := now.Sub(f.sent)
		switch {
		case age >= f.host.rtt.Patience(f.probe.Attempt, s.prober.Timeout):
			s.giveUp(l, f, now)
			continue
		case age >= f.host.pipe():
			s.leavePipe(f)
			s.enqueue(f.host, now)
		}
		f.at = f.sent.Add(max(f.host.next(f, age, s.prober.Timeout), age+1))
		l.flights.moved(f)
	}
}

func (s *sweep) giveUp(l *line, f *flight, now time.Time) {
	if f.probe.Control {
		f.host.budget.silent()
	}
	s.end(l, f, probe.Result{State: probe.OpenFiltered, Reason: probe.NoResponse}, now)
}

// lose gives back all that is in flight: answers got lost here, and nobody knows whose.
func (s *sweep) lose(l *line, err error, now time.Time) {
	s.tellShortage(err)
	for len(l.flights) > 0 {
		s.end(l, l.flights[0], unsent(err), now)
	}
}

// judge returns what an ICMP error says of a target at asked, false if nothing. One that this machine sent itself says
// nothing of it: either nobody answered for the next hop on the link, which is silence, or a rule of our own refused.
func (s *sweep) judge(asked netip.Addr, e sock.ICMPError) (probe.Result, bool) {
	asked = asked.WithZone("")
	if e.Local || e.From != asked && s.own[e.From] {
		if errors.Is(e.Errno, sock.ErrHostUnreach) {
			return probe.Result{State: probe.OpenFiltered, Reason: probe.NoNeighbor}, true
		}
		return unsent(fmt.Errorf("a rule of this machine refused to send: %w", error(e.Errno))), true
	}
	icmp := probe.ICMP{Type: e.Type, Code: e.Code}
	reason, ok := probe.ReasonOf(icmp, asked.Is6())
	if !ok {
		return probe.Result{}, false
	}
	r := probe.Result{State: probe.Filtered, Reason: reason, ICMP: icmp}
	switch {
	case e.From != asked:
		r.From = e.From
	case reason == probe.PortUnreach:
		r.State = probe.Closed
	}
	return r, true
}
