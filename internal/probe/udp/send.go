package udp

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"sonde/internal/payload"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// take sends a probe that has come now, or parks it with its host.
func (s *sweep) take(p probe.Probe) {
	now := time.Now()
	h := s.host(whoAnswers(p.Addr()))
	if len(h.parked) > 0 || !s.hasRoom(now) || !s.mayGo(h, p, now) || !s.launch(h, p) {
		h.parked = append(h.parked, p)
		s.parked++
		s.enqueue(h, now)
	}
	s.release(h)
}

// turn returns when a probe may go, as far as its host is concerned; the zero time is now. It returns false when a flight of
// the host has to end before.
func (s *sweep) turn(h *host, p probe.Probe) (at time.Time, ok bool) {
	switch {
	case h.inPipe >= perHost, s.flights[answersAs(p)] != nil:
		return at, false
	case h.paced(p):
		return h.budget.next, true
	}
	return at, true
}

// mayGo reports whether it is a probe's turn.
func (s *sweep) mayGo(h *host, p probe.Probe, now time.Time) bool {
	at, ok := s.turn(h, p)
	return ok && !at.After(now)
}

// enqueue gives a host a turn, if it needs one that no flight's end will give it.
func (s *sweep) enqueue(h *host, now time.Time) {
	if h.queued || len(h.parked) == 0 {
		return
	}
	if at, ok := s.turn(h, h.parked[0]); ok {
		s.queue.add(h, at, now)
	}
}

// send lets those go that waited, one of each host in turn.
func (s *sweep) send(now time.Time) {
	s.queue.wake(now)
	for len(s.queue.turn) > 0 && s.hasRoom(now) && s.permitted(now) {
		h := s.queue.next()
		p := h.parked[0]
		if s.mayGo(h, p, now) {
			if !s.launch(h, p) {
				s.enqueue(h, now)
				return
			}
			h.parked = h.parked[1:]
			s.parked--
			s.permit = time.Time{}
		}
		s.enqueue(h, now)
		s.release(h)
	}
}

// permitted reports whether the rate lets one go that had to wait.
func (s *sweep) permitted(now time.Time) bool {
	if s.permit.IsZero() {
		s.permit = s.prober.Rate.Reserve(now)
	}
	return !s.permit.After(now)
}

// launch sends a probe, or accounts for it in another way. It returns false when the probe has to wait because this
// machine is short of something.
func (s *sweep) launch(h *host, p probe.Probe) bool {
	now := time.Now()
	if late, ok := h.takeLate(p); ok {
		s.tell(p, late, now)
		return true
	}
	if !p.Until.IsZero() && now.After(p.Until) {
		s.tell(p, unsent(nil), now)
		return true
	}
	l, err := s.line(p.Addr())
	if err == nil && s.isOurs(l, p) {
		s.tell(p, probe.Result{State: probe.Closed, Reason: probe.PortUnreach}, now)
		return true
	}
	if err == nil {
		s.question = payload.Append(s.question[:0], p.Port(), s.token(answersAs(p)))
		err = l.Send(p.AddrPort, s.question)
	}
	switch {
	case err == nil:
		s.shortSince = time.Time{}
		s.fly(l, h, p, now)
	case sock.IsLimit(err) && !errors.Is(err, sock.ErrNotOurs) && s.wait(err, now):
		return false
	default:
		s.tell(p, unsent(err), now)
	}
	return true
}

// wait notes a shortage. It returns false when it has lasted so long that the probe must be given back.
func (s *sweep) wait(err error, now time.Time) bool {
	s.tellShortage(err)
	if s.shortSince.IsZero() {
		s.shortSince = now
	}
	if now.Sub(s.shortSince) >= shortLimit {
		return false
	}
	s.retryAt = now.Add(shortPause)
	return true
}

func (s *sweep) tellShortage(err error) {
	if !s.short && s.prober.OnShortage != nil {
		s.prober.OnShortage(err)
	}
	s.short = true
}

func (s *sweep) fly(l *line, h *host, p probe.Probe, now time.Time) {
	if h.paced(p) {
		h.budget.spend(now)
	}
	f := &flight{probe: p, host: h, sent: now, inPipe: true}
	f.at = now.Add(h.next(f, 0, s.prober.Timeout))
	h.flying++
	h.inPipe++
	s.inPipe++
	s.flights[answersAs(p)] = f
	l.flights.add(f)
}

// isOurs reports whether a target is the port of the socket that asks: it would answer itself, and nobody else can be there.
func (s *sweep) isOurs(l *line, p probe.Probe) bool {
	addr := whoAnswers(p.Addr())
	if p.Port() != l.local.Port() {
		return false
	}
	if bound := l.local.Addr(); !bound.IsUnspecified() {
		return addr.WithZone("") == bound.WithZone("")
	}
	return addr.IsLoopback() || s.own[addr.WithZone("")]
}

// answersAs returns where the answer to a probe comes from.
func answersAs(p probe.Probe) netip.AddrPort {
	return netip.AddrPortFrom(whoAnswers(p.Addr()), p.Port())
}

// token is what only the target can know, beside us.
func (s *sweep) token(to netip.AddrPort) uint64 {
	addr := to.Addr().As16()
	b := append(s.key[:], addr[:]...)
	sum := sha256.Sum256(binary.BigEndian.AppendUint16(b, to.Port()))
	return binary.BigEndian.Uint64(sum[:])
}
