package udp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A sweep is one call of Probe. Its goroutine owns all of it; the lines' goroutines only listen.
type sweep struct {
	prober *Prober
	report func(probe.Result)
	own    map[netip.Addr]bool // this machine's addresses
	key    [32]byte            // of the tokens

	lines [2]*line // for IPv4 and IPv6, once there was something to ask
	errs  [2]error // why a family has none
	heard chan *line
	quit  chan struct{}
	ears  sync.WaitGroup

	hosts     map[netip.Addr]*host // by the address they answer from
	mostHosts int
	queue     queue
	flights   map[netip.AddrPort]*flight // by who will answer
	inPipe    int                        // of all hosts
	window    int                        // in the pipe at most: what the sockets can hold
	parked    int
	permit    time.Time // when the next probe that had to wait may go, for the rate; zero: not asked yet
	question  []byte

	shortSince time.Time // when the shortage at hand began; zero without one
	retryAt    time.Time // when to try again
	short      bool      // a shortage was told
}

// firstWindow holds until there is a socket to ask.
const firstWindow = 256

func newSweep(p *Prober, report func(probe.Result)) (*sweep, error) {
	own, err := sock.OwnAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	s := &sweep{prober: p, report: report, own: own, heard: make(chan *line), quit: make(chan struct{}), hosts: map[netip.Addr]*host{},
		mostHosts: mostHosts, flights: map[netip.AddrPort]*flight{}, window: firstWindow}
	_, _ = rand.Read(s.key[:]) // never fails (crypto/rand)
	return s, nil
}

// run asks what is due and takes in what comes, until there is no more of either.
func (s *sweep) run(ctx context.Context, probes <-chan []probe.Probe) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		s.send(now)
		if probes == nil && s.parked+len(s.flights) == 0 {
			return nil
		}
		s.arm()
		inbox := probes
		if !s.hasRoom(now) {
			inbox = nil
		}
		timer.Stop()
		if at := s.nextSend(now); !at.IsZero() {
			timer.Reset(max(0, at.Sub(now)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case fresh, ok := <-inbox:
			if !ok {
				probes = nil
			}
			for _, p := range fresh {
				s.take(p)
			}
		case l := <-s.heard:
			if err := s.hear(l); err != nil {
				return err
			}
		}
	}
}

func (s *sweep) arm() {
	for _, l := range s.lines {
		if l != nil {
			l.arm()
		}
	}
}

// hasRoom reports whether one more probe may go.
func (s *sweep) hasRoom(now time.Time) bool {
	return s.inPipe < s.window && len(s.flights) < mostFlying && !now.Before(s.retryAt)
}

// nextSend returns when something that waits may go if nothing else happens before, zero if nothing will.
func (s *sweep) nextSend(now time.Time) (at time.Time) {
	switch {
	case now.Before(s.retryAt):
		return s.retryAt
	case len(s.queue.turn) > 0 && s.hasRoom(now):
		return s.permit
	case len(s.queue.later) > 0:
		return s.queue.later[0].at
	}
	return time.Time{}
}

// line returns the line for an address's family, and opens it if it is the first.
func (s *sweep) line(to netip.Addr) (*line, error) {
	i := 0
	if to.Is6() {
		i = 1
	}
	if s.lines[i] != nil || s.errs[i] != nil {
		return s.lines[i], s.errs[i]
	}
	open := s.prober.open
	if open == nil {
		open = s.prober.openSocket
	}
	l, err := open(to.Is6())
	if err != nil {
		s.errs[i] = err
		return nil, err
	}
	l.heard, l.resume = make([]sock.Heard, sock.MaxBatch), make(chan struct{}, 1)
	s.lines[i] = l
	s.window = l.room
	s.ears.Go(func() { l.listen(s.heard, s.quit) })
	return l, nil
}

func (s *sweep) host(addr netip.Addr) *host {
	h, ok := s.hosts[addr]
	if !ok {
		if len(s.hosts) >= s.mostHosts {
			s.forget()
		}
		h = &host{addr: addr}
		s.hosts[addr] = h
	}
	return h
}

// forget drops the hosts without probes. With too many left, the next time is when they are twice as many.
func (s *sweep) forget() {
	for addr, h := range s.hosts {
		if h.isIdle() {
			delete(s.hosts, addr)
		}
	}
	s.mostHosts = max(mostHosts, 2*len(s.hosts))
}

// release forgets a host that there is nothing to say of.
func (s *sweep) release(h *host) {
	if len(h.parked) == 0 {
		h.parked = nil
	}
	if h.isIdle() && h.isBlank() {
		delete(s.hosts, h.addr)
	}
}

// giveBack reports all that was not accounted for when the sweep ended.
func (s *sweep) giveBack(probes <-chan []probe.Probe) {
	now := time.Now()
	for fresh := range probes {
		for _, p := range fresh {
			s.tell(p, unsent(nil), now)
		}
	}
	for _, h := range s.hosts {
		for _, p := range h.parked {
			s.tell(p, unsent(nil), now)
		}
	}
	for _, f := range s.flights {
		s.tell(f.probe, unsent(nil), now)
	}
}

// close ends the lines.
func (s *sweep) close() {
	close(s.quit)
	for _, l := range s.lines {
		if l != nil {
			_ = l.SetReadDeadline(time.Unix(1, 0))
		}
	}
	s.ears.Wait()
	for _, l := range s.lines {
		if l != nil {
			_ = l.shut()
		}
	}
}

// isTimeout reports whether reading ended because it was time to look at a flight.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
