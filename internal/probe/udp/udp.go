// Package udp probes UDP ports with payloads that make services answer, as anyone may.
//
// An answer counts if it comes from the address and port that were asked and belongs to the question (package
// payload): the port is Open. A port-unreachable from the target itself is Closed; any other ICMP error is Filtered, with who sent
// it. Silence is OpenFiltered: it says nothing.
//
// ICMP errors are told by Linux only (the error queue). Elsewhere an unconnected socket hears answers and nothing else: a closed
// port cannot be told from a silent one there, and is OpenFiltered too.
//
// All questions of a family leave from one port, so that an answer does not tell which of the attempts it answers. As in TCP
// (Karn's algorithm) only the answer to a first attempt has a round-trip time, and an answer that comes
// too late counts for the attempt after.
package udp

import (
	"context"
	"net/netip"
	"time"

	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A Prober sends datagrams to targets with Proto probe.UDP and reports what came of them: each probe once, as an answer, as
// silence or as Unsent, those that an interruption left included. Timeout must be set; the rest may be zero. One Prober
// makes one scan at a time.
//
// A host whose round-trip time is known is waited for as long as that suggests (pace.RTT), a retry no less than 500 ms and four
// times as long as a first attempt. First attempts go out fast, at most 64 at once to a host. Hosts limit how often they
// refuse (Linux: six ICMP errors to an asker, then one a second), so later attempts to a host that has refused by ICMP go as
// fast as its controls (probe.Probe.Control) show that it bears, while others are asked. What waits for its host is kept here; it
// does not count for the window.
type Prober struct {
	Timeout          time.Duration // how long one probe waits for its answer, at the most
	Source4, Source6 netip.Addr    // where datagrams come from; invalid: the system's choice
	Interface        string        // the only one they leave by; Linux only
	// Rate is the one by which probes fall due, if they do by one. A probe that had to wait for its host has lost its
	// permission by then, and takes a new one here: permissions that were saved up would make a burst.
	Rate *pace.Rate

	// OnShortage is told once in each call of Probe when this machine runs out of something, buffers for one, so that the
	// scan goes on more slowly. It is called from within Probe.
	OnShortage func(error)

	open func(v6 bool) (*line, error) // nil: sockets; tests have a network of their own
}

const (
	batch      = 64      // asked for at once
	perHost    = 64      // to which a host is expected to answer at once, at most
	mostFlying = 1 << 14 // beyond it the kernel's own tables (conntrack, neighbours) begin to drop what is sent
	mostHosts  = 1 << 16 // beyond it, what is known of hosts without probes is forgotten
	mostReply  = 512     // bytes of an answer that are kept
	mostLate   = 64      // late answers that are kept for a host
)

// How long answers are waited for.
const (
	curiosity    = 100 * time.Millisecond // how long a host of which nothing is known is expected to take, for a start
	shortestPipe = 10 * time.Millisecond  // a host's answers come in bursts: its scheduler has slices
)

// When this machine is short of something one tries again after a pause; after the limit the shortage is taken to
// last, and the probe is given back.
const (
	shortPause = 10 * time.Millisecond
	shortLimit = 5 * time.Second
)

// Probe implements scan.Prober.
func (p *Prober) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	s, err := newSweep(p, report)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	probes := make(chan []probe.Probe)
	go pump(ctx, due, probes)
	err = s.run(ctx, probes)
	cancel()
	s.giveBack(probes)
	s.close()
	return err
}

// pump takes what falls due, which may make it wait, to where nothing must wait but for sockets. It has ended when probes is closed.
func pump(ctx context.Context, due probe.Due, probes chan<- []probe.Probe) {
	defer close(probes)
	var bufs [2][batch]probe.Probe // while one is filled, the other is dealt with
	for i := 0; ; i = 1 - i {
		n, ok := due.Next(ctx, bufs[i][:])
		if n > 0 {
			probes <- bufs[i][:n]
		}
		if !ok {
			return
		}
	}
}

// openSocket opens the socket of a family.
func (p *Prober) openSocket(v6 bool) (*line, error) {
	source := p.Source4
	if v6 {
		source = p.Source6
	}
	q, err := sock.NewInquiry(v6, source, p.Interface)
	if err != nil {
		return nil, err
	}
	return &line{conn: q, local: q.LocalAddr(), room: q.Room(), shut: q.Close}, nil
}
