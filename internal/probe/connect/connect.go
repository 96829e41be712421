// Package connect probes TCP ports by connecting to them, as anyone may.
//
// On Linux the Prober keeps many non-blocking sockets on event loops of its own, so that it can
// read the kernel's error queue and so tell a host's refusal (a reset) from a
// firewall's (an ICMP error, and whose). Elsewhere it uses net.Dialer, where the two look alike.
package connect

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A Prober makes TCP connections and reports what came of them. Timeout must be set; the
// rest may be zero. One Prober makes one scan at a time, and what one taught it about the hosts serves the next.
//
// A host whose round-trip time is known is waited for as long as that suggests (pace.RTT), a retry no less than 500 ms and
// four times as long as a first attempt; Timeout is the most, and holds for hosts of which nothing is known. A host that is seen
// to lose probes is asked more slowly (pace.Pacer; Linux only), and its probes wait while others are asked.
type Prober struct {
	Timeout          time.Duration // how long one connection may take to be made
	Concurrency      int           // connections in flight at most; 0: what the descriptor limit bears
	PerHost          int           // connections in flight to one address at most; 0: no limit
	Source4, Source6 netip.Addr    // where connections come from; invalid: the system's choice
	Interface        string        // the only one they leave by; Linux only
	// Rate is the one by which probes fall due, if they do by one. One that had to wait for its host has lost its permission
	// by then, and takes a new one here: permissions that were saved up would make a burst.
	Rate *pace.Rate

	// OnShortage is told once in each call of Probe when this machine runs out of something that connections need,
	// so that the scan goes on with fewer at once. It is called from within Probe.
	OnShortage func(error)

	known *hosts
}

// When this machine is short of something and nothing in flight can end that, one tries again
// after a pause; after the limit the shortage is taken to last, and the probe is given back.
const (
	shortPause = 10 * time.Millisecond
	shortLimit = 5 * time.Second
)

// kernelRetry is when the kernel sends a SYN again by itself (tcp(7), RFC 6298 section 2.1). An answer that comes later
// may be to either, and its time says nothing (section 3, Karn's algorithm).
const kernelRetry = time.Second

// Of the descriptors a process may have, this many are left to files, names and the runtime.
const reservedFiles = 32

// window returns how many connections may be in flight, and what makes them few.
func (p *Prober) window() (n int, short, err error) {
	files, err := sock.RaiseFileLimit()
	if err != nil {
		return 0, nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	bears := int(max(1, min(files, 1<<20)-min(files-1, reservedFiles)))
	if wanted := cmp.Or(p.Concurrency, fewConnections); bears < wanted {
		short = fmt.Errorf("no more than %d files can be open here (ulimit -n)", files)
	}
	return min(cmp.Or(p.Concurrency, maxWindow), bears), short, nil
}

// fewConnections are so few that a scan is slower for it.
const fewConnections = 512

// maxWindow bounds the window nobody asked for: beyond it the kernel's own tables
// (conntrack, neighbours) begin to drop what is sent.
const maxWindow = 16384

// unsent returns the result of a probe that this machine did not send, and why: nil if it was interrupted.
func unsent(p probe.Probe, err error) probe.Result {
	return probe.Result{Target: p.Target, Method: probe.Connect, State: probe.Unsent, Reason: probe.LocalError, Attempt: p.Attempt, Control: p.Control, Err: err}
}

// verdict turns the error of a connect, without an ICMP message beside it, into words. It
// returns false when the error says nothing about the target.
func verdict(err error) (probe.State, probe.Reason, bool) {
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			return v.state, v.reason, true
		}
	}
	return probe.Unsent, probe.LocalError, false
}

var verdicts = [...]struct {
	err    error
	state  probe.State
	reason probe.Reason
}{
	{sock.ErrRefused, probe.Closed, probe.ConnRefused},
	{sock.ErrReset, probe.Open, probe.SynAck}, // only what was connected can be reset: before, it is refused (tcp_reset in the kernel)
	{sock.ErrHostUnreach, probe.Filtered, probe.HostUnreach},
	{sock.ErrNetUnreach, probe.Filtered, probe.NetUnreach},
	{sock.ErrProhibited, probe.Filtered, probe.AdminProhibited},
	{sock.ErrNoProtocol, probe.Filtered, probe.ProtoUnreach},
	{sock.ErrTimedOut, probe.Filtered, probe.NoResponse},
}
