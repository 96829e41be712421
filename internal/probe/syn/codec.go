// Package syn probes TCP ports by half a handshake: a SYN goes out, and a SYN-ACK, a RST or an ICMP error comes back.
//
// Nothing is remembered of a probe. What is asked is under a key in the probe itself (Codec), and an answer counts only if it
// brings that back: a forged one would have to guess some thirty bits. A Raw sends through the kernel's routing, on any
// interface; an XDP sends whole batches in the kernel, on Ethernet, and leaves the rest to its Raw. Both need Linux and its
// capabilities. They are wires in package stateless' sense.
package syn

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"sonde/internal/packet"
	"sonde/internal/probe"
)

// A Codec writes probes and reads answers. Its key is drawn afresh, so that nobody can know what a probe of this scan looks
// like. All but its count is fixed: any number of goroutines may use it.
//
// The hash of a target (SipHash-2-4 of its address and port) is in its probe thus: 29 bits of the sequence number, above
// three that count attempts; which of the source ports it comes from; the IPv4 identification; and what is added to the clock in the
// TCP timestamp, so that the echo tells the round-trip time and not how long this machine has been up.
type Codec struct {
	Key       [2]uint64
	FirstPort uint16
	Ports     uint16 // a power of two

	strangers atomic.Uint64
}

// NewCodec draws the key of a scan that comes from so many ports, a power of two, from the first on.
func NewCodec(firstPort, ports uint16) (*Codec, error) {
	if ports&(ports-1) != 0 || ports == 0 {
		return nil, fmt.Errorf("%d source ports: it must be a power of two", ports)
	}
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return &Codec{Key: [2]uint64{binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])}, FirstPort: firstPort, Ports: ports}, nil
}

// attemptMask is the bits of a sequence number that count attempts.
const attemptMask = 7

// A mark is what a target's probes are known by.
type mark uint64

func (c *Codec) mark(t netip.AddrPort) mark {
	var b [18]byte
	n := 4
	if t.Addr().Is4() {
		a := t.Addr().As4()
		copy(b[:], a[:])
	} else {
		a := t.Addr().As16()
		n = copy(b[:], a[:])
	}
	binary.BigEndian.PutUint16(b[n:], t.Port())
	return mark(siphash.Hash(c.Key[0], c.Key[1], b[:n+2]))
}

// seq is the sequence number of an attempt.
func (m mark) seq(attempt uint8) uint32 { return uint32(m)&^attemptMask | uint32(attempt)&attemptMask }

// has reports whether a sequence number is that of some attempt.
func (m mark) has(seq uint32) bool { return (seq^uint32(m))&^attemptMask == 0 }

// port is the source port, counted from the first.
func (m mark) port(ports uint16) uint16 { return uint16(m>>32) & (ports - 1) }

// stamp is the TCP timestamp at a time of the clock.
func (m mark) stamp(clock uint32) uint32 { return clock + uint32(m>>32) }

// Ticks of the clock in a probe are 1,024 ns of the system's monotonic clock.
const tick = 1024 * time.Nanosecond

// fields returns what a probe that is sent at a time of the clock has of its own.
func (c *Codec) fields(p *probe.Probe, clock uint32) packet.Fields {
	m := c.mark(p.AddrPort)
	return packet.Fields{
		Dst: p.AddrPort, SrcPort: c.FirstPort + m.port(c.Ports), Seq: m.seq(p.Attempt), TSVal: m.stamp(clock), ID: uint16(m >> 48),
	}
}

// Strangers returns how many packets came to our ports that do not answer a probe of ours.
func (c *Codec) Strangers() uint64 { return c.strangers.Load() }

// UnknownAttempt is the attempt of an answer that does not tell which probe it answers: the same as package stateless'.
const UnknownAttempt = 255

// Parse returns what a packet that came at a time of the clock says of a target; false if it answers no probe of ours. The
// attempt is modulo 8, or UnknownAttempt. From is always there where an ICMP error is the reason.
func (c *Codec) Parse(d *packet.Datagram, clock uint32) (probe.Result, bool) {
	var r probe.Result
	var ok bool
	if d.Proto == packet.TCP {
		r, ok = c.segment(&d.Segment, clock)
	} else {
		r, ok = c.icmp(d, clock)
	}
	if !ok {
		return r, false
	}
	r.Method, r.TTL = probe.SYN, d.TTL
	return r, true
}

// segment judges a TCP segment to one of our ports.
func (c *Codec) segment(s *packet.Segment, clock uint32) (r probe.Result, ok bool) {
	port := s.Dst.Port() - c.FirstPort
	if port >= c.Ports {
		return r, false
	}
	m := c.mark(s.Src)
	r.Target.AddrPort = s.Src
	switch acked, reset := s.Ack-1, s.Flags&packet.FlagRST != 0; {
	case m.port(c.Ports) != port:
	case s.Flags&(packet.FlagACK|packet.FlagRST|packet.FlagSYN) == packet.FlagSYN:
		// Both ends open (RFC 9293 section 3.5). That it comes to the port keyed for it is all that speaks for it.
		if !c.isOurs(s) {
			r.State, r.Reason, r.Attempt = probe.Open, probe.SplitHandshake, UnknownAttempt
			return r, true
		}
		return r, false
	case reset && !m.has(acked) && m.has(s.Ack): // some acknowledge no byte
		r.State, r.Reason, r.Attempt = probe.Closed, probe.Reset, uint8(s.Ack&attemptMask)
		return r, true
	case s.Flags&packet.FlagACK == 0 || !m.has(acked):
	case reset:
		r.State, r.Reason, r.Attempt = probe.Closed, probe.Reset, uint8(acked&attemptMask)
		return r, true
	case s.Flags&packet.FlagSYN != 0:
		r.State, r.Reason, r.Attempt = probe.Open, probe.SynAck, uint8(acked&attemptMask)
		if s.Options.Timestamps {
			r.RTT = m.since(s.Options.TSEcr, clock)
		}
		return r, true
	}
	c.strangers.Add(1)
	return r, false
}

// longestRTT is the longest time that a timestamp may say: beyond it, it is none of ours.
const longestRTT = time.Minute

// since returns how long ago, by the clock, a probe with that timestamp was sent, 0 if that cannot be.
func (m mark) since(stamp, clock uint32) time.Duration {
	rtt := time.Duration(clock-(stamp-uint32(m>>32))) * tick
	if rtt > longestRTT {
		return 0
	}
	return max(rtt, 1)
}

// isOurs reports whether a segment is a probe of ours, which this machine hears when it scans itself.
func (c *Codec) isOurs(s *packet.Segment) bool {
	m := c.mark(s.Dst)
	return m.has(s.Seq) && s.Src.Port() == c.FirstPort+m.port(c.Ports)
}

// icmp judges an ICMP error by the probe that it quotes.
func (c *Codec) icmp(d *packet.Datagram, clock uint32) (r probe.Result, ok bool) {
	q := &d.Quoted
	if d.QuotedProto != packet.TCP || q.Src.Port()-c.FirstPort >= c.Ports || d.Dst.Addr() != q.Src.Addr() {
		return r, false // about something else
	}
	m := c.mark(q.Dst)
	if q.Src.Port() != c.FirstPort+m.port(c.Ports) || !m.has(q.Seq) {
		c.strangers.Add(1)
		return r, false
	}
	r.Target.AddrPort, r.From, r.ICMP = q.Dst, d.Src.Addr(), probe.ICMP{Type: d.Type, Code: d.Code}
	r.Attempt = uint8(q.Seq & attemptMask)
	if r.Reason, ok = probe.ReasonOf(r.ICMP, q.Dst.Addr().Is6()); !ok {
		return r, false
	}
	if q.Options.Timestamps {
		r.RTT = m.since(q.Options.TSVal, clock)
	}
	r.State = probe.Filtered
	return r, true
}
