package measure

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/pace"
	"sonde/internal/sock"
)

func TestEchoOverTCP(t *testing.T) {
	for name, p := range map[string]Plan{
		"by a timetable":   {Rate: 2000, Connections: 7, Count: 700},
		"closed loop":      {Connections: 3, Count: 300},
		"with a window":    {Connections: 2, Window: 8, Count: 300, Size: 4000},
		"large":            {Count: 8, Size: 1 << 18, Window: 3},
		"ended by a reset": {Count: 20, Abrupt: true},
	} {
		t.Run(name, func(t *testing.T) {
			p.Dial = serveTCP(t, echoTCP)
			r := measured(t, p)
			if r.Answered != p.Count || r.Probes != p.Count || r.Reordered+r.Doubled+r.Foreign > 0 || r.Service.N() != p.Count || r.Interrupted {
				t.Errorf("%+v", r.Counts)
			}
			if want := max(p.Connections, 1); int(r.Connect.N()) != want || int(r.FirstByte.N()) != want {
				t.Errorf("phases of %d and %d connections", r.Connect.N(), r.FirstByte.N())
			}
		})
	}
}

// What a server does to datagrams is told for what it is.
func TestDatagramsThatSuffer(t *testing.T) {
	changed := func(p []byte) []byte {
		p = slices.Clone(p)
		p[50] ^= 0xff
		return p
	}
	var held []byte
	for name, test := range map[string]struct {
		answers func(n int, p []byte) [][]byte
		want    Counts
	}{
		"whole":     {func(_ int, p []byte) [][]byte { return [][]byte{p} }, Counts{Answered: 10}},
		"doubled":   {func(_ int, p []byte) [][]byte { return [][]byte{p, p} }, Counts{Answered: 10, Doubled: 10}},
		"changed":   {func(_ int, p []byte) [][]byte { return [][]byte{changed(p)} }, Counts{Corrupt: 10}},
		"truncated": {func(_ int, p []byte) [][]byte { return [][]byte{p[:40]} }, Counts{Corrupt: 10, Truncated: 10}},
		"mixed":     {func(_ int, p []byte) [][]byte { return [][]byte{p, []byte("and something else of its own")} }, Counts{Answered: 10, Foreign: 10}},
		"reordered": {func(n int, p []byte) [][]byte {
			if n%2 == 0 {
				held = p
				return nil
			}
			return [][]byte{p, held}
		}, Counts{Answered: 10, Reordered: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			var damage []*Damage
			p := Plan{Dial: misbehave(t, test.answers), Count: 10, Window: 2, Event: func(e Event) {
				if e.Kind == Damaged {
					damage = append(damage, e.Err.(*Damage))
				}
			}}
			if name == "mixed" {
				p.Rate = 200
			}
			r := measured(t, p)
			test.want.Probes = 10
			for got, want := range map[*uint64]uint64{&r.Foreign: test.want.Foreign, &r.Doubled: test.want.Doubled} {
				if *got+1 == want {
					*got++ // the last may come when all is over
				}
			}
			if r.Counts != test.want {
				t.Errorf("%+v, not %+v", r.Counts, test.want)
			}
			if name == "changed" && (len(damage) != 10 || damage[0].Offset != 50 || damage[0].Want[0]^damage[0].Got[0] != 0xff) {
				t.Errorf("told of %v", damage)
			}
		})
	}
}

// What is lost is lost, and what comes after the time-out is late and no longer lost.
func TestLostAndLate(t *testing.T) {
	var late []byte
	r := measured(t, Plan{Dial: misbehave(t, func(n int, p []byte) [][]byte {
		switch n {
		case 0:
			return [][]byte{p}
		case 1:
			return nil
		case 2:
			late = p
			return nil
		}
		return [][]byte{late, p} // it waited for the next, which a closed loop sends after the time-out
	}), Count: 4, Timeout: 250 * time.Millisecond})
	if want := (Counts{Probes: 4, Answered: 2, Lost: 1, Late: 1}); r.Counts != want && r.Answered+r.Late != 3 {
		t.Errorf("%+v, not %+v", r.Counts, want)
	}
	if r.Late < 1 || r.Lost != 1 || r.Loss() != 0.25 || r.Failed() < 0.5 {
		t.Errorf("%+v, loss %v, failed %v", r.Counts, r.Loss(), r.Failed())
	}
}

func TestRefusedDatagrams(t *testing.T) {
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	to := gone.LocalAddr().(*net.UDPAddr)
	_ = gone.Close()
	var told []string
	refused := 0
	r := measured(t, Plan{
		Dial: func(context.Context) (net.Conn, Phases, error) {
			c, err := net.DialUDP("udp4", nil, to)
			return c, Phases{}, err
		},
		Count: 5, Rate: 100, Timeout: time.Hour, // nobody waits for what is refused
		Reply: func(r Reply) {
			if e, ok := r.Err.(*RefusedError); ok && e.PortUnreachable() && r.Fate == Lost {
				refused++
			}
		},
		Event: func(e Event) {
			if e.Kind == Refused {
				told = append(told, e.Err.Error())
			}
		},
	})
	if r.Lost != 5 || r.Refused == 0 || len(told) != 1 || !strings.Contains(told[0], "nobody listens there") || refused != 5 {
		t.Errorf("%+v, %q, %d refused", r.Counts, told, refused)
	}
}

// A stream that is damaged is told, and goes on behind it.
func TestStreamsThatSuffer(t *testing.T) {
	const size = 64
	for name, spoil := range map[string]func([]byte) []byte{
		"changed":   func(p []byte) []byte { p[33] ^= 1; return p },
		"truncated": func(p []byte) []byte { return p[:45] },
	} {
		t.Run(name, func(t *testing.T) {
			r := measured(t, Plan{Count: 10, Rate: 1000, Size: size, Dial: serveTCP(t, func(_ int, c *net.TCPConn) {
				buf := make([]byte, size)
				for n := 0; ; n++ {
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					p := buf
					if n == 4 {
						p = spoil(buf)
					}
					_, _ = c.Write(p)
				}
			})})
			if r.Answered != 9 || r.Corrupt != 1 || (r.Truncated == 1) != (name == "truncated") {
				t.Errorf("%+v", r.Counts)
			}
		})
	}
}

func TestNoEchoServer(t *testing.T) {
	for name, test := range map[string]struct {
		dial func(t *testing.T) Dial
		want string
	}{
		"says something else": {func(t *testing.T) Dial {
			return serveTCP(t, func(_ int, c *net.TCPConn) {
				_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.9 and nothing that was sent\r\n"))
				_, _ = io.Copy(io.Discard, c)
			})
		}, `what came back is nothing that was sent: "SSH-2.0-OpenSSH_9.9`},
		"says little and closes": {func(t *testing.T) Dial {
			return serveTCP(t, func(_ int, c *net.TCPConn) {
				_, _ = c.Write([]byte("bye\n"))
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			})
		}, "what came back is nothing that was sent"},
		"closes": {func(t *testing.T) Dial {
			return serveTCP(t, func(_ int, c *net.TCPConn) { _, _ = c.Read(make([]byte, 64)) })
		}, "before anything came back"},
		"another datagram": {func(t *testing.T) Dial {
			return misbehave(t, func(int, []byte) [][]byte { return [][]byte{[]byte("Thursday, November 26, 2026 04:50:00-UTC")} })
		}, `what came back is nothing that was sent: "Thursday`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), filled(Plan{Dial: test.dial(t), Rate: 100, Count: 1}))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	want := errors.New("refused")
	_, err := Run(t.Context(), filled(Plan{Connections: 100, Dial: func(context.Context) (net.Conn, Phases, error) { return nil, Phases{}, want }}))
	if !errors.Is(err, want) {
		t.Error(err)
	}
}

// One connection that breaks is told of, costs what was in flight on it, and is made again; the others go on.
func TestBrokenConnectionIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made, broken, opened atomic.Int64
		p := filled(Plan{Connections: 3, Rate: 300, Duration: 1500 * time.Millisecond,
			Dial: func(context.Context) (net.Conn, Phases, error) {
				ours, theirs := net.Pipe()
				most := int64(1 << 30)
				if made.Add(1) == 2 {
					most = 640
				}
				go func() {
					_, _ = io.CopyN(theirs, theirs, most)
					_ = theirs.Close()
				}()
				return ours, Phases{}, nil
			},
			Event: func(e Event) {
				switch e.Kind {
				case Broken:
					broken.Add(1)
				case Opened:
					opened.Add(1)
				}
			},
		})
		r, err := newRun(p).run(t.Context(), &pace.Alarm{})
		if err != nil || broken.Load() != 1 || opened.Load() != 4 || r.Broken != 1 || r.Closed != 1 || r.Down != 0 || r.Behind() {
			t.Errorf("%d broke, %d were made; %+v, %v", broken.Load(), opened.Load(), r, err)
		}
		if r.Answered+r.Lost+r.Unsent != 450 || r.Unsent == 0 || r.Answered < 300 {
			t.Errorf("%+v", r.Counts)
		}
	})
}

// When all connections are gone at the end nothing is waited for, and it is told that they are down. What could not be sent
// for it is not lost, and not this machine's doing.
func TestServerThatDies(t *testing.T) {
	var reasons []error
	r := measured(t, Plan{Connections: 2, Rate: 200, Count: 100, Timeout: time.Hour,
		Dial: serveTCP(t, func(n int, c *net.TCPConn) {
			if n < 2 {
				_, _ = io.CopyN(c, c, 640)
				_, _ = io.CopyN(io.Discard, c, 64)
			}
			_ = c.SetLinger(0)
		}),
		Reply: func(r Reply) {
			if r.Fate == Lost {
				reasons = append(reasons, r.Err)
			}
		},
	})
	if r.Answered != 20 || r.Closed != 2 || r.Down != 2 || r.Unsent == 0 || r.Behind() || r.Failed() != 0.8 {
		t.Errorf("%+v, %d closed, %d down, %v/s", r.Counts, r.Closed, r.Down, r.Achieved)
	}
	if r.Lost == 0 || len(reasons) != int(r.Lost) || sock.EndingOf(reasons[0]) != sock.Reset {
		t.Errorf("%d lost, for %v", r.Lost, reasons)
	}
}

// A peer that never reads holds up its own connection alone, and no longer than the run.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int64
		p := filled(Plan{Connections: 2, Rate: 400, Duration: time.Second, Timeout: 300 * time.Millisecond, Dial: func(context.Context) (net.Conn, Phases, error) {
			ours, theirs := net.Pipe()
			if made.Add(1) == 2 {
				go func() { _, _ = io.Copy(theirs, theirs) }()
			}
			return ours, Phases{}, nil
		}})
		r, err := newRun(p).run(t.Context(), &pace.Alarm{})
		if err != nil || r.Answered != 200 || r.Lost != 1 || r.Unsent != 199 || r.Held < time.Second {
			t.Errorf("%+v, held %v, %v", r.Counts, r.Held, err)
		}
	})
}

// What is in flight when somebody interrupts is pending: nobody knows whether it is lost.
func TestInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	answered, heard := 0, make(chan struct{})
	r, err := Run(ctx, filled(Plan{Rate: 100, Dial: misbehave(t, func(n int, p []byte) [][]byte {
		if n == 5 {
			<-heard
			interrupt()
		}
		if n > 2 {
			return nil
		}
		return [][]byte{p}
	}), Reply: func(Reply) {
		if answered++; answered == 3 {
			close(heard)
		}
	}}))
	if err != nil || !r.Interrupted || r.Answered != 3 || r.Pending < 3 || r.Lost != 0 || r.Loss() != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A server that stops for a second once: of a hundred probes a second a hundred would have been asked meanwhile. Counted
// from when they were to be sent they took up to a second; counted from when they were sent, one did. Here the sending
// is held up, as by a peer whose window is closed.
func TestCoordinatedOmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() {
			defer func() { _ = theirs.Close() }()
			buf := make([]byte, 64)
			for n := 0; ; n++ {
				if _, err := io.ReadFull(theirs, buf); err != nil {
					return
				}
				if n == 500 {
					time.Sleep(time.Second)
				}
				if _, err := theirs.Write(buf); err != nil {
					return
				}
			}
		}()
		p := filled(Plan{Rate: 100, Duration: 10 * time.Second, Dial: func(context.Context) (net.Conn, Phases, error) { return ours, Phases{}, nil }})
		r, err := newRun(p).run(t.Context(), &pace.Alarm{})
		if err != nil || r.Answered != 1000 {
			t.Fatalf("%+v, %v", r, err)
		}
		if p99 := r.Latency.Percentile(99); p99 < 850*time.Millisecond || p99 > time.Second {
			t.Errorf("p99 from when they were to be sent is %v", p99)
		}
		if p50, most := r.Latency.Percentile(50), r.Latency.Max(); p50 != 0 || most != time.Second {
			t.Errorf("p50 %v, most %v", p50, most)
		}
		if over := 1000 - r.Service.countUpTo(500*time.Millisecond); over != 2 { // the one that is answered late, and the one being written
			t.Errorf("%d took over half a second from when they were sent", over)
		}
	})
}

func (d *Distribution) countUpTo(most time.Duration) (n uint64) {
	for _, b := range d.Buckets() {
		if b.To <= most {
			n += b.N
		}
	}
	return n
}

func TestKnock(t *testing.T) {
	var accepted atomic.Int64
	dial := serveTCP(t, func(_ int, c *net.TCPConn) {
		accepted.Add(1)
		_, _ = io.Copy(io.Discard, c)
	})
	for name, p := range map[string]Plan{"by a timetable": {Rate: 1000, Count: 100}, "closed loop": {Connections: 4, Count: 100}} {
		replies := 0
		p.Dial, p.Reply = dial, func(Reply) { replies++ }
		r, err := Knock(t.Context(), filled(p))
		if err != nil || r.Answered != 100 || replies != 100 || r.Service.N() != 100 || r.Service.Min() == 0 {
			t.Errorf("%s: %+v, %d told, %v", name, r.Counts, replies, err)
		}
	}
	refused := errors.New("nobody")
	r, err := Knock(t.Context(), filled(Plan{Count: 3, Dial: func(context.Context) (net.Conn, Phases, error) { return nil, Phases{}, refused }}))
	if err != nil || r.Lost != 3 || r.Loss() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A timetable of connections does not wait for room: what finds none is unsent.
func TestKnockDoesNotWait(t *testing.T) {
	const tooMany = 10
	release := make(chan struct{})
	told := 0
	r, err := Knock(t.Context(), filled(Plan{Rate: 1e6, Count: mostKnocks + tooMany,
		Dial: func(context.Context) (net.Conn, Phases, error) {
			<-release
			return nil, Phases{}, errors.New("silence")
		},
		Reply: func(r Reply) {
			if told++; told == tooMany {
				close(release)
			}
			if (told <= tooMany) != (r.Fate == Unsent) {
				t.Errorf("reply %d is %v", told, r.Fate)
			}
		},
	}))
	if err != nil || r.Unsent != tooMany || r.Lost != mostKnocks || r.Stalled > time.Second {
		t.Errorf("%+v, stalled %v, %v", r.Counts, r.Stalled, err)
	}
}

// A reply to a probe that is no longer remembered has no time.
func TestForgotten(t *testing.T) {
	var first []byte
	var doubled []Reply
	measured(t, Plan{Count: 200, Dial: misbehave(t, func(n int, p []byte) [][]byte {
		switch n {
		case 0:
			first = p
		case 198:
			return [][]byte{first, p}
		}
		return [][]byte{p}
	}), Reply: func(r Reply) {
		if r.Fate == Doubled {
			doubled = append(doubled, r)
		}
	}})
	if len(doubled) != 1 || doubled[0].Seq != 0 || doubled[0].Latency != 0 || doubled[0].Service != 0 {
		t.Errorf("%+v", doubled)
	}
}
