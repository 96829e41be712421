package udp

import (
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A wire is a network in memory with one line, whose other end is a function. It uses channels and timers only.
type wire struct {
	// at deals with each datagram that is sent; it may call hear, at once or later.
	at func(w *wire, to netip.AddrPort, data []byte) error

	mu       sync.Mutex
	queue    []sock.Heard
	change   chan struct{} // closed, and replaced, when something came or the deadline moved
	deadline time.Time
	sent     []sentTo
}

type sentTo struct {
	to   netip.AddrPort
	at   time.Time
	data string
}

func newWire(at func(w *wire, to netip.AddrPort, data []byte) error) *wire {
	return &wire{at: at, change: make(chan struct{})}
}

// prober asks over the wire.
func (w *wire) prober(timeout time.Duration) *Prober {
	return &Prober{Timeout: timeout, open: func(v6 bool) (*line, error) {
		local := netip.MustParseAddrPort("0.0.0.0:33333")
		if v6 {
			local = netip.MustParseAddrPort("[::]:33333")
		}
		return &line{conn: w, local: local, room: 256, shut: func() error { return nil }}, nil
	}}
}

// Send implements conn.
func (w *wire) Send(to netip.AddrPort, data []byte) error {
	if err := w.at(w, to, data); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, sentTo{to, time.Now(), string(data)})
	return nil
}

func (w *wire) wake() {
	close(w.change)
	w.change = make(chan struct{})
}

// hear brings something to the line, after a while.
func (w *wire) hear(h sock.Heard, after time.Duration) {
	time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queue = append(w.queue, h)
		w.wake()
	})
}

// SetReadDeadline implements conn.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	w.wake()
	return nil
}

// Read implements conn.
func (w *wire) Read(hs []sock.Heard) (int, error) {
	for {
		w.mu.Lock()
		n := copy(hs, w.queue)
		w.queue = w.queue[n:]
		change, deadline := w.change, w.deadline
		w.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		var over <-chan time.Time
		if !deadline.IsZero() {
			if !time.Now().Before(deadline) {
				return 0, os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-change:
		case <-over:
		}
	}
}

// closed is a host's refusal.
func closed(of netip.AddrPort) sock.Heard { return refusal(of, of.Addr(), 3, 3) }

func refusal(of netip.AddrPort, from netip.Addr, kind, code uint8) sock.Heard {
	return sock.Heard{Peer: of, TTL: 60, Refused: true, Refusal: sock.ICMPError{Type: kind, Code: code, From: from}}
}

func udpTarget(addr string, port uint16) probe.Target {
	return probe.Target{AddrPort: netip.AddrPortFrom(netip.MustParseAddr(addr), port), Proto: probe.UDP}
}

// asks returns a probe of each port.
func asks(addr string, attempt uint8, first, last uint16) (all []probe.Probe) {
	for port := first; port <= last; port++ {
		all = append(all, probe.Probe{Target: udpTarget(addr, port), Attempt: attempt})
	}
	return all
}

// passes probes pass after pass, each when the one before is over, and returns what was reported by attempt.
func passes(t testing.TB, p *Prober, each ...[]probe.Probe) []map[probe.Target]probe.Result {
	t.Helper()
	d := &inPasses{passes: each, over: make(chan struct{}, 1<<16)}
	all := make([]map[probe.Target]probe.Result, len(each)+1)
	err := p.Probe(t.Context(), d, func(r probe.Result) {
		if all[r.Attempt] == nil {
			all[r.Attempt] = map[probe.Target]probe.Result{}
		}
		if _, again := all[r.Attempt][r.Target]; again {
			t.Errorf("%v is reported twice", r.Target)
		}
		all[r.Attempt][r.Target] = r
		d.over <- struct{}{}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
