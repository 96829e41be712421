package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"sonde/internal/probe"
)

// Wire is what meets a TCP segment that comes to a host's eth0. Everything else is the kernel's in any case, so
// that the link works.
type Wire uint8

// The wires. Answerer and Sink are programs in the driver's receive path (XDP): they need root, and bear millions of SYNs a
// second. Both verify checksums, count (Tally) and swallow what is no SYN.
const (
	Kernel   Wire = iota // the host's kernel: listeners and rules say what becomes of it
	Answerer             // each SYN is answered as Truth says, whatever its address and port
	Sink                 // each SYN is swallowed
)

// How many of 1024 addresses and ports an Answerer has open, and closed. The ports from 49152 are nobody's (RFC 6335, section 6): what
// would be open is closed there, lest it look like a host that accepts everything.
const (
	answerOpen   = 48
	answerClosed = 128
	answerUnused = 49152
)

// Truth is what an Answerer says: SYN-ACK (4.7 % of addresses and ports are open), RST (12.5 %) or nothing. It is
// bpf/answer.c's rule once more.
func Truth(target netip.AddrPort) probe.State {
	h := word(target.Addr()) ^ uint32(target.Port())*0x9e3779b1
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	h ^= h >> 16
	switch h %= 1024; {
	case h < answerOpen && target.Port() < answerUnused:
		return probe.Open
	case h < answerOpen+answerClosed:
		return probe.Closed
	}
	return probe.Filtered
}

// word is the one that stands for an address in the rule.
func word(a netip.Addr) uint32 {
	bytes := a.AsSlice()
	w := uint32(0)
	for ; len(bytes) > 0; bytes = bytes[4:] {
		w = w*31 + binary.BigEndian.Uint32(bytes)
	}
	return w
}

// state is the wire's verdict on a target, and whether it has one.
func (w Wire) state(t probe.Target) (probe.State, bool) {
	switch {
	case t.Proto != probe.TCP || w == Kernel:
		return 0, false
	case w == Answerer:
		return Truth(t.AddrPort), true
	}
	return probe.Filtered, true
}

// A Tally is what an Answerer or a Sink has met. All that it counts is TCP.
type Tally struct {
	Open, Closed, Silent uint64 // SYNs, by what was said to them; those to the ports from 49152 apart
	Unused               uint64 // SYNs to those, with which a scanner looks for hosts that accept everything; they have no time here
	Resets               uint64 // segments with RST
	Others               uint64 // segments that are neither SYN nor RST
	Broken               uint64 // SYNs with a wrong checksum or with data: nothing is said to them

	// First is when the first SYN came, Last when another did: the last one if not more than some hundred come in a
	// second, else one of the last 32. Timed is how many had come by then.
	First, Last time.Duration
	Timed       uint64
}

// SYNs is how many have come, but to the ports from 49152.
func (t Tally) SYNs() uint64 { return t.Open + t.Closed + t.Silent }

// Rate is the SYNs a second between First and Last, by the kernel's monotonic clock.
func (t Tally) Rate() float64 {
	if t.Last <= t.First {
		return 0
	}
	return float64(t.Timed-1) / (t.Last - t.First).Seconds()
}

// A Flood is SYN-ACKs that nobody asked for, with random acknowledgements, in all else like those of a Linux host. Their
// addresses and ports are drawn at random.
type Flood struct {
	From      netip.Prefix // they claim to be from there, zero: the host's own IPv4 address
	Ports     Ports        // of the host, which they claim to be from
	To        Ports        // of the client
	PerSecond uint64       // 0: as many as can be
	Count     uint64
}

// floodSeconds is how long a flood may last: half of what a host may take for anything.
const floodSeconds = 15

func (f Flood) check() error {
	switch {
	case f.Count == 0:
		return fmt.Errorf("a flood of nothing")
	case f.PerSecond > 0 && f.Count/f.PerSecond > floodSeconds:
		return fmt.Errorf("%d packets at %d/s last more than %d s", f.Count, f.PerSecond, floodSeconds)
	case f.Ports.First > f.Ports.Last || f.To.First > f.To.Last:
		return fmt.Errorf("ports run backwards")
	}
	return nil
}
