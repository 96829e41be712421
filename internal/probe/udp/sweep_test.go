package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// Port 7 (echo) wants its token back, whole.
const echoPort = 7

var (
	asked  = netip.MustParseAddr("192.0.2.1")
	router = netip.MustParseAddr("198.51.100.254")
)

func one(port uint16) probe.Probe {
	return probe.Probe{Target: udpTarget(asked.String(), port), Attempt: 1}
}

// Only what the target says in answer to the question counts.
func TestOnlyTheRightAnswerCounts(t *testing.T) {
	for name, c := range map[string]struct {
		reply func(to netip.AddrPort, question []byte) sock.Heard
		open  bool
	}{
		"the answer": {func(to netip.AddrPort, q []byte) sock.Heard { return sock.Heard{Peer: to, Data: q, TTL: 61} }, true},
		"another token": {func(to netip.AddrPort, q []byte) sock.Heard {
			return sock.Heard{Peer: to, Data: append([]byte{q[0] ^ 1}, q[1:]...)}
		}, false},
		"nothing": {func(to netip.AddrPort, _ []byte) sock.Heard { return sock.Heard{Peer: to} }, false},
		"another port": {func(to netip.AddrPort, q []byte) sock.Heard {
			return sock.Heard{Peer: netip.AddrPortFrom(to.Addr(), 8), Data: q}
		}, false},
		"another host": {func(to netip.AddrPort, q []byte) sock.Heard {
			return sock.Heard{Peer: netip.AddrPortFrom(router, to.Port()), Data: q}
		}, false},
		"another port refused": {func(to netip.AddrPort, _ []byte) sock.Heard { return closed(netip.AddrPortFrom(to.Addr(), 9)) }, false},
		"packet too big":       {func(to netip.AddrPort, _ []byte) sock.Heard { return refusal(to, router, 2, 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(func(w *wire, to netip.AddrPort, q []byte) error {
					w.hear(c.reply(to, append([]byte(nil), q...)), time.Millisecond)
					return nil
				})
				r := answers(t, w.prober(time.Second), one(echoPort))[one(echoPort).Target]
				want := probe.Result{State: probe.OpenFiltered, Reason: probe.NoResponse}
				if c.open {
					want = probe.Result{State: probe.Open, Reason: probe.UDPResponse, TTL: 61, RTT: time.Millisecond}
				}
				if r.State != want.State || r.Reason != want.Reason || r.TTL != want.TTL || r.RTT != want.RTT || r.Method != probe.Datagram {
					t.Errorf("%+v, want %+v", r, want)
				}
				if c.open && string(r.Reply) != w.sent[0].data {
					t.Errorf("reply %q, want %q", r.Reply, w.sent[0].data)
				}
			})
		})
	}
}

// Two probers have two keys.
func TestTokensDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(*wire, netip.AddrPort, []byte) error { return nil })
		for range 2 {
			answers(t, w.prober(time.Second), append(asks("192.0.2.1", 1, 7, 7), asks("192.0.2.2", 1, 7, 7)...)...)
		}
		seen := map[string]bool{}
		for _, s := range w.sent {
			seen[s.data] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d tokens for 4 questions", len(seen))
		}
	})
}

// TFTP answers from a port of its own choice.
func TestTFTPAnswersFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(w *wire, to netip.AddrPort, _ []byte) error {
			w.hear(sock.Heard{Peer: netip.AddrPortFrom(to.Addr(), 50123), Data: []byte("\x00\x05\x00\x01File not found\x00")}, time.Millisecond)
			return nil
		})
		got := answers(t, w.prober(time.Second), one(69), one(70))
		if got[one(69).Target].State != probe.Open || got[one(70).Target].State != probe.OpenFiltered {
			t.Errorf("%+v", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	six := netip.MustParseAddr("2001:db8::1")
	own, err := sock.OwnAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var ours netip.Addr
	for a := range own {
		ours = a
	}
	for name, c := range map[string]struct {
		target netip.Addr
		e      sock.ICMPError
		want   probe.Result
	}{
		"closed": {asked, sock.ICMPError{Type: 3, Code: 3, From: asked}, probe.Result{State: probe.Closed, Reason: probe.PortUnreach, ICMP: probe.ICMP{Type: 3, Code: 3}}},
		"closed, IPv6": {six, sock.ICMPError{Type: 1, Code: 4, From: six},
			probe.Result{State: probe.Closed, Reason: probe.PortUnreach, ICMP: probe.ICMP{Type: 1, Code: 4}}},
		"port unreachable, says a router": {asked, sock.ICMPError{Type: 3, Code: 3, From: router},
			probe.Result{State: probe.Filtered, Reason: probe.PortUnreach, From: router, ICMP: probe.ICMP{Type: 3, Code: 3}}},
		"prohibited, says the host": {asked, sock.ICMPError{Type: 3, Code: 13, From: asked},
			probe.Result{State: probe.Filtered, Reason: probe.AdminProhibited, ICMP: probe.ICMP{Type: 3, Code: 13}}},
		"on a loop": {asked, sock.ICMPError{Type: 11, From: router},
			probe.Result{State: probe.Filtered, Reason: probe.TimeExceeded, From: router, ICMP: probe.ICMP{Type: 11}}},
		"no neighbour":     {asked, sock.ICMPError{Type: 3, Code: 1, From: ours, Errno: syscall.EHOSTUNREACH}, probe.Result{State: probe.OpenFiltered, Reason: probe.NoNeighbor}},
		"our own firewall": {asked, sock.ICMPError{Type: 3, Code: 3, From: ours, Errno: syscall.ECONNREFUSED}, probe.Result{State: probe.Unsent, Reason: probe.LocalError}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(func(w *wire, to netip.AddrPort, _ []byte) error {
					w.hear(sock.Heard{Peer: to, Refused: true, Refusal: c.e}, time.Millisecond)
					return nil
				})
				p := probe.Probe{Target: udpTarget(c.target.String(), 99), Attempt: 1, Control: true}
				r := answers(t, w.prober(time.Second), p)[p.Target]
				if r.State != c.want.State || r.Reason != c.want.Reason || r.From != c.want.From || r.ICMP != c.want.ICMP ||
					(r.Err != nil) != (r.State == probe.Unsent) || !r.Control {
					t.Errorf("%+v, want %+v", r, c.want)
				}
			})
		})
	}
}

// What the sending socket's own port says is what we said ourselves.
func TestOwnPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(w *wire, to netip.AddrPort, q []byte) error {
			w.hear(sock.Heard{Peer: to, Data: append([]byte(nil), q...)}, 0)
			return nil
		})
		for _, addr := range []string{"127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "192.0.2.1"} {
			p := probe.Probe{Target: udpTarget(addr, 33333), Attempt: 1}
			want := probe.Closed
			if addr == "192.0.2.1" { // is not ours
				want = probe.Open
			}
			if r := answers(t, w.prober(time.Second), p)[p.Target]; r.State != want {
				t.Errorf("%s: %+v, want %v", addr, r, want)
			}
		}
	})
}

// What comes when nobody waits any more counts for the next attempt, which is not sent.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(w *wire, to netip.AddrPort, q []byte) error {
			switch to.Port() {
			case 1: // quick, so that the host is known
				w.hear(closed(to), time.Millisecond)
			case 2: // between the attempts
				w.hear(closed(to), 300*time.Millisecond)
			case 3: // while the second attempt is out
				w.hear(sock.Heard{Peer: to, Data: []byte("hello")}, 2200*time.Millisecond)
			}
			return nil
		})
		p := w.prober(2 * time.Second)
		got := passes(t, p, append(asks(asked.String(), 1, 1, 3), asks("192.0.2.200", 1, 5, 5)...), asks(asked.String(), 2, 2, 3))
		first, second := got[1], got[2]
		if first[udpTarget(asked.String(), 2)].State != probe.OpenFiltered || first[udpTarget(asked.String(), 3)].State != probe.OpenFiltered {
			t.Errorf("first pass: %+v", first)
		}
		if r := second[udpTarget(asked.String(), 2)]; r.State != probe.Closed || r.Attempt != 2 || r.RTT != 0 {
			t.Errorf("between: %+v", r)
		}
		if r := second[udpTarget(asked.String(), 3)]; r.State != probe.Open || r.Attempt != 2 || r.RTT != 0 {
			t.Errorf("during: %+v", r)
		}
		for _, s := range w.sent {
			if s.to.Port() == 2 && s.at.Sub(w.sent[0].at) > 100*time.Millisecond {
				t.Error("what is known was asked again")
			}
		}
	})
}

// Once a host is known its silence is short; the last probe waits longer; nothing waits longer than Timeout.
func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		attempt        uint8
		known          bool
		timeout, waits time.Duration
	}{
		{1, false, 3 * time.Second, 3 * time.Second},
		{1, true, 3 * time.Second, 100 * time.Millisecond},
		{2, true, 3 * time.Second, 500 * time.Millisecond},
		{2, true, 300 * time.Millisecond, 300 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(func(w *wire, to netip.AddrPort, q []byte) error {
				if to.Port() == 1 && c.known {
					w.hear(sock.Heard{Peer: to, Data: []byte("x")}, time.Millisecond)
				}
				return nil
			})
			got := passes(t, w.prober(c.timeout), asks(asked.String(), 1, 1, 1), asks(asked.String(), c.attempt, 2, 2))
			r := got[c.attempt][udpTarget(asked.String(), 2)]
			if waited := r.Time.Sub(w.sent[1].at); waited != c.waits || r.State != probe.OpenFiltered {
				t.Errorf("%+v: waited %v", c, waited)
			}
		})
	}
}

// At most 64 are out to one host at a time that an answer is expected for; others are asked meanwhile.
func TestBoundPerHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(*wire, netip.AddrPort, []byte) error { return nil })
		answers(t, w.prober(10*time.Second), append(asks("192.0.2.1", 1, 1000, 1999), asks("192.0.2.2", 1, 1, 1)...)...)
		start := w.sent[0].at
		for _, s := range w.sent[:perHost+1] {
			if s.at != start {
				t.Errorf("%v is asked after %v", s.to, s.at.Sub(start))
			}
		}
		if other := w.sent[perHost].to.Addr().String(); other != "192.0.2.2" {
			t.Errorf("%s is asked while 192.0.2.2 waits", other)
		}
		if took := w.sent[1000].at.Sub(start); took > 2*time.Second { // 64 each 100 ms, though each is waited for ten seconds
			t.Errorf("asking 1000 silent ports took %v", took)
		}
	})
}

// What had to wait for its host keeps to the rate when it goes.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(*wire, netip.AddrPort, []byte) error { return nil })
		p := w.prober(time.Second)
		p.Rate = pace.NewRate(400)
		answers(t, p, append(asks("192.0.2.1", 1, 1, 1000), asks("192.0.2.2", 1, 1, 1000)...)...) // all are due at once
		sent := w.sent[2*perHost:]
		for i := range len(sent) - 45 { // 40, and a batch of 4
			if d := sent[i+45].at.Sub(sent[i].at); d < 100*time.Millisecond {
				t.Fatalf("46 in %v", d)
			}
		}
		if took := sent[len(sent)-1].at.Sub(sent[0].at); took > 5*time.Second {
			t.Errorf("%d at 400 a second took %v", len(sent), took)
		}
	})
}

// Answers that the kernel threw away are nobody's silence.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(func(w *wire, to netip.AddrPort, _ []byte) error {
			if to.Port() == 1 {
				w.hear(sock.Heard{Peer: to, Data: []byte("x"), Dropped: 5}, time.Millisecond)
			}
			return nil
		})
		p := w.prober(time.Second)
		var short []error
		p.OnShortage = func(err error) { short = append(short, err) }
		got := answers(t, p, asks(asked.String(), 1, 1, 10)...)
		for at, r := range got {
			want := probe.Unsent
			if at.Port() == 1 {
				want = probe.Open
			}
			if r.State != want || (r.Err != nil) != (want == probe.Unsent) {
				t.Errorf("%+v", r)
			}
		}
		if len(short) != 1 {
			t.Errorf("told of %v", short)
		}
	})
}

// A shortage is waited for, one that lasts is told; what is no shortage is told at once.
func TestShortage(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		lasts time.Duration
		takes time.Duration
		state probe.State
	}{
		"buffers, for a while": {syscall.ENOBUFS, time.Second, time.Second, probe.Closed},
		"a full queue":         {syscall.EAGAIN, time.Second, time.Second, probe.Closed},
		"buffers, for ever":    {syscall.ENOBUFS, time.Hour, shortLimit, probe.Unsent},
		"no address":           {syscall.EADDRNOTAVAIL, time.Hour, 0, probe.Unsent},
		"our own firewall":     {syscall.EPERM, time.Hour, 0, probe.Unsent},
		"no route":             {syscall.ENETUNREACH, time.Hour, 0, probe.Unsent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				w := newWire(func(w *wire, to netip.AddrPort, _ []byte) error {
					if time.Since(start) < c.lasts {
						return fmt.Errorf("send to %v: %w", to, c.err)
					}
					w.hear(closed(to), 0)
					return nil
				})
				told := 0
				p := w.prober(time.Second)
				p.OnShortage = func(error) { told++ }
				for _, r := range answers(t, p, asks(asked.String(), 1, 1, 100)...) {
					if r.State != c.state || c.state == probe.Unsent && !errors.Is(r.Err, c.err) {
						t.Errorf("%+v", r)
					}
				}
				if took := time.Since(start); took < c.takes || took > c.takes+100*time.Millisecond || (told == 1) != (c.takes > 0) {
					t.Errorf("it took %v, and %d were told of", took, told)
				}
			})
		})
	}
}

// Whatever comes, each probe is reported once, and with its own attempt and control.
func TestEachProbeOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.SliceOfN(rapid.Uint8(), 400, 400).Draw(rt, "fates")
		hosts := rapid.IntRange(1, 4).Draw(rt, "hosts")
		ports := rapid.IntRange(1, 100).Draw(rt, "ports")
		end := rapid.SampledFrom([]time.Duration{time.Hour, 700 * time.Millisecond, 10 * time.Millisecond}).Draw(rt, "end")
		synctest.Test(t, func(*testing.T) { chaos(rt, seed, hosts, ports, end) })
	})
}

// chaos scans hosts whose every datagram has a fate of its own, two attempts each.
func chaos(t *rapid.T, fates []uint8, hosts, ports int, end time.Duration) {
	sent := 0
	w := newWire(func(w *wire, to netip.AddrPort, _ []byte) error {
		fate := fates[sent%len(fates)]
		sent++
		after := time.Duration(fate) * 5 * time.Millisecond
		answer := sock.Heard{Peer: to, Data: []byte("x"), Dropped: uint32(sent / 150)}
		switch fate % 10 {
		case 0:
			return syscall.ENOBUFS
		case 1:
			return syscall.EPERM
		case 2, 3:
			w.hear(closed(to), after)
			w.hear(closed(to), 2*after)
		case 4:
			w.hear(answer, after)
			w.hear(answer, after+time.Second)
		case 5:
			w.hear(refusal(to, router, 3, 13), after)
		}
		return nil
	})
	type question struct {
		target  probe.Target
		attempt uint8
		control bool
	}
	want, got := map[question]int{}, map[question]int{}
	var each [][]probe.Probe
	for attempt := uint8(1); attempt <= 3; attempt++ {
		var pass []probe.Probe
		for port := range ports {
			for h := range hosts {
				p := probe.Probe{Target: udpTarget(fmt.Sprintf("192.0.2.%d", h+1), uint16(port+1000)), Attempt: attempt}
				pass = append(pass, p)
				if attempt > 1 && port%20 == 0 { // a control, and asked twice at that
					p.Control = true
					pass = append(pass, p)
				}
			}
		}
		each = append(each, pass)
	}
	ctx, cancel := context.WithTimeout(context.Background(), end)
	defer cancel()
	d := &noted{inPasses: inPasses{passes: each, over: make(chan struct{}, 1<<16)}, note: func(p probe.Probe) { want[question{p.Target, p.Attempt, p.Control}]++ }}
	err := w.prober(time.Second).Probe(ctx, d, func(r probe.Result) {
		got[question{r.Target, r.Attempt, r.Control}]++
		if r.Time.IsZero() || r.Method != probe.Datagram {
			t.Errorf("%+v", r)
		}
		d.over <- struct{}{}
	})
	if (err != nil) != (ctx.Err() != nil) {
		t.Errorf("error %v", err)
	}
	for q, n := range want {
		if got[q] != n {
			t.Errorf("%+v was asked %d times and reported %d times", q, n, got[q])
		}
	}
	if len(got) != len(want) || end == time.Hour && len(want) < 3*hosts*ports {
		t.Errorf("%d asked, %d reported", len(want), len(got))
	}
}

// noted is inPasses that tells what it hands out.
type noted struct {
	inPasses
	note func(probe.Probe)
}

// Next implements probe.Due.
func (d *noted) Next(ctx context.Context, buf []probe.Probe) (int, bool) {
	n, ok := d.inPasses.Next(ctx, buf)
	for _, p := range buf[:n] {
		d.note(p)
	}
	return n, ok
}

// A failure of the socket ends the scan, and says so.
func TestSocketFails(t *testing.T) {
	w := &broken{newWire(func(*wire, netip.AddrPort, []byte) error { return nil })}
	p := &Prober{Timeout: time.Hour, open: func(bool) (*line, error) {
		return &line{conn: w, room: 256, shut: func() error { return nil }}, nil
	}}
	reported := 0
	err := p.Probe(t.Context(), &list{probes: asks(asked.String(), 1, 1, 200)}, func(r probe.Result) {
		if r.State == probe.Unsent {
			reported++
		}
	})
	if !errors.Is(err, syscall.EBADF) || reported < 64 {
		t.Errorf("error %v, %d given back", err, reported)
	}
}

type broken struct{ *wire }

// Read implements conn.
func (*broken) Read([]sock.Heard) (int, error) { return 0, syscall.EBADF }

// Where a family has no socket its probes are Unsent, and the other's go.
func TestNoSocket(t *testing.T) {
	p := &Prober{Timeout: time.Second, Source4: netip.MustParseAddr("203.0.113.77")}
	r := answers(t, p, one(9))[one(9).Target]
	if r.State != probe.Unsent || r.Err == nil {
		t.Errorf("%+v", r)
	}
}
