package syn

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonde/internal/packet"
	"sonde/internal/probe"
)

// A world is one scan by one codec, as its tests see it.
type world struct {
	*Codec
	us   netip.Addr
	them netip.AddrPort
}

var worlds = map[string][2]string{"IPv4": {"198.18.0.1", "198.18.0.2:80"}, "IPv6": {"fd00::1", "[fd00::2]:80"}}

func newWorld(t testing.TB, family string) *world {
	t.Helper()
	c, err := NewCodec(40000, 16)
	if err != nil {
		t.Fatal(err)
	}
	return &world{c, netip.MustParseAddr(worlds[family][0]), netip.MustParseAddrPort(worlds[family][1])}
}

// sent is the probe with that attempt number, as it leaves.
func (w *world) sent(t testing.TB, attempt uint8, clock uint32) packet.Segment {
	t.Helper()
	s := packet.NewSYN(w.us, 1460)
	var d packet.Datagram
	if !packet.Parse(s.Append(nil, w.fields(&probe.Probe{Target: probe.Target{AddrPort: w.them}, Attempt: attempt}, clock)), &d) {
		t.Fatal("the probe cannot be read")
	}
	return d.Segment
}

// answer is an answer to a probe.
func answer(to packet.Segment, flags packet.Flags, ack uint32) packet.Segment {
	return packet.Segment{Src: to.Dst, Dst: to.Src, Flags: flags, Ack: ack, TTL: 57,
		Options: packet.Options{Timestamps: to.Options.Timestamps, TSVal: 7, TSEcr: to.Options.TSVal}}
}

func (w *world) hear(t testing.TB, b []byte, clock uint32) (probe.Result, bool) {
	t.Helper()
	var d packet.Datagram
	if !packet.Parse(b, &d) {
		t.Fatal("the answer cannot be read")
	}
	return w.Parse(&d, clock)
}

const (
	synAck = packet.FlagSYN | packet.FlagACK
	rstAck = packet.FlagRST | packet.FlagACK
)

func TestSegments(t *testing.T) {
	for family := range worlds {
		for _, c := range []struct {
			name    string
			answer  func(p packet.Segment) packet.Segment
			state   probe.State // Unsent: it answers nothing
			reason  probe.Reason
			attempt uint8
			rtt     time.Duration
		}{
			{"a SYN-ACK", func(p packet.Segment) packet.Segment { return answer(p, synAck, p.Seq+1) }, probe.Open, probe.SynAck, 3, 500 * tick},
			{"a SYN-ACK without timestamps", func(p packet.Segment) packet.Segment {
				a := answer(p, synAck, p.Seq+1)
				a.Options.Timestamps = false
				return a
			}, probe.Open, probe.SynAck, 3, 0},
			{"a SYN-ACK whose echo is not ours", func(p packet.Segment) packet.Segment {
				a := answer(p, synAck, p.Seq+1)
				a.Options.TSEcr += 1 << 30
				return a
			}, probe.Open, probe.SynAck, 3, 0},
			{"a reset", func(p packet.Segment) packet.Segment { return answer(p, rstAck, p.Seq+1) }, probe.Closed, probe.Reset, 3, 0},
			{"a reset that acknowledges no byte", func(p packet.Segment) packet.Segment { return answer(p, rstAck, p.Seq) }, probe.Closed, probe.Reset, 2, 0},
			{"a bare SYN", func(p packet.Segment) packet.Segment { return answer(p, packet.FlagSYN, 0) }, probe.Open, probe.SplitHandshake, UnknownAttempt, 0},
			{"a SYN-ACK to an earlier connection", func(p packet.Segment) packet.Segment { return answer(p, synAck, p.Seq+9) }, probe.Unsent, 0, 0, 0},
			{"a SYN-ACK that acknowledges nothing", func(p packet.Segment) packet.Segment { return answer(p, synAck, 0) }, probe.Unsent, 0, 0, 0},
			{"a forged reset", func(p packet.Segment) packet.Segment { return answer(p, rstAck, p.Seq+1<<31) }, probe.Unsent, 0, 0, 0},
			{"a reset without an acknowledgement", func(p packet.Segment) packet.Segment { return answer(p, packet.FlagRST, p.Seq+1) }, probe.Unsent, 0, 0, 0},
			{"an answer to another of our ports", func(p packet.Segment) packet.Segment {
				a := answer(p, synAck, p.Seq+1)
				a.Dst = netip.AddrPortFrom(a.Dst.Addr(), 40000+(a.Dst.Port()-40000+1)%16)
				return a
			}, probe.Unsent, 0, 0, 0},
			{"a bare SYN to another of our ports", func(p packet.Segment) packet.Segment {
				a := answer(p, packet.FlagSYN, 0)
				a.Dst = netip.AddrPortFrom(a.Dst.Addr(), 40000+(a.Dst.Port()-40000+1)%16)
				return a
			}, probe.Unsent, 0, 0, 0},
			{"an answer from another port", func(p packet.Segment) packet.Segment {
				a := answer(p, synAck, p.Seq+1)
				a.Src = netip.AddrPortFrom(a.Src.Addr(), 81)
				return a
			}, probe.Unsent, 0, 0, 0},
			{"data", func(p packet.Segment) packet.Segment { return answer(p, packet.FlagACK, p.Seq+1) }, probe.Unsent, 0, 0, 0},
			{"a probe of our own", func(p packet.Segment) packet.Segment { return p }, probe.Unsent, 0, 0, 0},
		} {
			w := newWorld(t, family)
			p := w.sent(t, 3, 1000)
			a := c.answer(p)
			r, ok := w.hear(t, a.Append(nil), 1500)
			if ok != (c.state != probe.Unsent) {
				t.Errorf("%s, %s: it answers a probe: %v", family, c.name, ok)
				continue
			}
			if !ok {
				continue
			}
			if r.Target.AddrPort != w.them || r.State != c.state || r.Reason != c.reason || r.Attempt != c.attempt || r.RTT != c.rtt || r.TTL != a.TTL || r.Method != probe.SYN {
				t.Errorf("%s, %s: %+v", family, c.name, r)
			}
		}
	}
}

// This machine hears its own probes where it scans itself: one that goes to a port that probes come from is no bare SYN of a
// target's, though it may be to the port that is keyed for it.
func TestOwnProbesMeet(t *testing.T) {
	w := newWorld(t, "IPv4")
	for port := uint16(40000); port < 40016; port++ {
		w.them = netip.AddrPortFrom(w.us, port)
		p := w.sent(t, 1, 1)
		if r, ok := w.hear(t, p.Append(nil), 2); ok {
			t.Errorf("the probe to %v is taken for an answer: %+v", w.them, r)
		}
	}
}

func TestICMP(t *testing.T) {
	router := map[string]string{"IPv4": "198.18.9.9", "IPv6": "fd09::9"}
	for family := range worlds {
		w := newWorld(t, family)
		p := w.sent(t, 2, 1000)
		from := netip.MustParseAddr(router[family])
		kind, code, cut := uint8(3), uint8(13), packet.IPv4Size+8
		if family == "IPv6" {
			kind, code, cut = 1, 1, packet.IPv6Size+8
		}
		for _, quote := range [][]byte{p.Append(nil), p.Append(nil)[:cut]} {
			r, ok := w.hear(t, packet.AppendError(nil, from, w.us, kind, code, quote), 3000)
			want := probe.Result{Target: probe.Target{AddrPort: w.them}, Method: probe.SYN, State: probe.Filtered, Reason: probe.AdminProhibited,
				From: from, ICMP: probe.ICMP{Type: kind, Code: code}, Attempt: 2, TTL: r.TTL}
			if len(quote) > cut {
				want.RTT = 2000 * tick
			}
			if !ok || !sameResult(r, want) {
				t.Errorf("%s: %+v, %v, want %+v", family, r, ok, want)
			}
		}
		for name, change := range map[string]func(*packet.Segment){
			"of another sequence number": func(p *packet.Segment) { p.Seq += 8 },
			"from another of our ports":  func(p *packet.Segment) { p.Src = netip.AddrPortFrom(w.us, 40000+(p.Src.Port()-40000+1)%16) },
			"to another port":            func(p *packet.Segment) { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 81) },
		} {
			forged := p
			change(&forged)
			if r, ok := w.hear(t, packet.AppendError(nil, from, w.us, kind, code, forged.Append(nil)), 3000); ok {
				t.Errorf("%s: an error that quotes a packet %s is taken: %+v", family, name, r)
			}
		}
		if w.Strangers() == 0 {
			t.Errorf("%s: what is forged is not counted", family)
		}
		if _, ok := w.hear(t, packet.AppendError(nil, from, w.us, kind, 200, p.Append(nil)), 3000); ok {
			t.Errorf("%s: an error of no known meaning is taken", family)
		}
	}
}

func sameResult(a, b probe.Result) bool {
	a.Reply, b.Reply = nil, nil
	return a.Target == b.Target && a.Method == b.Method && a.State == b.State && a.Reason == b.Reason && a.From == b.From && a.ICMP == b.ICMP &&
		a.Attempt == b.Attempt && a.RTT == b.RTT && a.TTL == b.TTL
}

// Whatever the target and the attempt, its own answer is known, and one made for another key is not.
func TestEveryTargetKnowsItsAnswer(t *testing.T) {
	other := newWorld(t, "IPv4")
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rapid.SampledFrom([]string{"IPv4", "IPv6"}).Draw(rt, "family"))
		bytes := rapid.SliceOfN(rapid.Byte(), w.us.BitLen()/8, w.us.BitLen()/8).Draw(rt, "address")
		addr, _ := netip.AddrFromSlice(bytes)
		if addr.Is4In6() {
			return
		}
		w.them = netip.AddrPortFrom(addr, rapid.Uint16Range(1, 65535).Draw(rt, "port"))
		attempt, clock := rapid.Byte().Draw(rt, "attempt"), rapid.Uint32().Draw(rt, "clock")
		p := w.sent(t, attempt, clock)
		a := answer(p, synAck, p.Seq+1)
		r, ok := w.hear(t, a.Append(nil), clock+10)
		if !ok || r.Target.AddrPort != w.them || r.Attempt != attempt%8 || r.RTT != 10*tick {
			rt.Fatalf("%v attempt %d: %+v, %v", w.them, attempt, r, ok)
		}
		if p.Src.Port() < 40000 || p.Src.Port() > 40015 {
			rt.Fatalf("it comes from port %d", p.Src.Port())
		}
		if _, ok := other.hear(t, a.Append(nil), clock); ok {
			rt.Fatalf("another scan takes the answer, which happens once in 2^33 times")
		}
	})
}

// A million forged answers, and not one is believed.
func TestForgedFlood(t *testing.T) {
	w := newWorld(t, "IPv4")
	p := w.sent(t, 1, 1)
	a := answer(p, synAck, 0)
	var d packet.Datagram
	packet.Parse(a.Append(nil), &d)
	for i := range uint32(1_000_000) {
		d.Ack = i * 4096 // each is another of 2^29 cookies, or nearly
		if d.Ack-1 == p.Seq {
			continue
		}
		if r, ok := w.Parse(&d, 1); ok && (d.Ack-1)&^attemptMask != p.Seq&^attemptMask {
			t.Fatalf("acknowledgement %d is believed: %+v", d.Ack, r)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	for family := range worlds {
		w := newWorld(t, family)
		p := w.sent(t, 1, 1)
		a := answer(p, synAck, p.Seq+1)
		b := a.Append(nil)
		var d packet.Datagram
		one := probe.Probe{Target: probe.Target{AddrPort: w.them}}
		s := packet.NewSYN(w.us, 1460)
		out := make([]byte, 0, 128)
		if n := testing.AllocsPerRun(100, func() {
			out = s.Append(out[:0], w.fields(&one, 1))
			if packet.Parse(b, &d) {
				w.Parse(&d, 2)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations from index to frame and back", family, n)
		}
	}
}

// Whatever comes in, nothing is believed that does not bring a cookie: here, by construction, nothing does.
func FuzzHear(f *testing.F) {
	w := newWorld(f, "IPv4")
	p := w.sent(f, 1, 1)
	a := answer(p, synAck, p.Seq+100)
	f.Add(a.Append(nil))
	f.Add(packet.AppendError(nil, w.them.Addr(), w.us, 3, 13, a.Append(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := NewCodec(40000, 16) // its key is no older than b
		if err != nil {
			t.Fatal(err)
		}
		var d packet.Datagram
		if !packet.Parse(b, &d) {
			return
		}
		if r, ok := c.Parse(&d, 1); ok && r.Reason != probe.SplitHandshake {
			t.Fatalf("%v is believed: %+v", &d, r)
		}
	})
}

func BenchmarkProbe(b *testing.B) {
	w := newWorld(b, "IPv4")
	s := packet.NewSYN(w.us, 1460)
	one := probe.Probe{Target: probe.Target{AddrPort: w.them}}
	out := make([]byte, 0, 128)
	for b.Loop() {
		out = s.Append(out[:0], w.fields(&one, 1))
	}
}

func BenchmarkAnswer(b *testing.B) {
	w := newWorld(b, "IPv4")
	p := w.sent(b, 1, 1)
	a := answer(p, synAck, p.Seq+1)
	bytes := a.Append(nil)
	var d packet.Datagram
	for b.Loop() {
		packet.Parse(bytes, &d)
		w.Parse(&d, 2)
	}
}
