// Package ping asks hosts whether they are there, by ICMP and ICMPv6 echo (RFC 792, RFC 4443 section 4).
//
// A host that answers is Open with EchoReply; an ICMP error about the request is Filtered with who said so;
// silence is Filtered with NoResponse, and proves nothing: many hosts and firewalls drop echo requests.
// A reply counts only if it comes from the address that was asked and brings back what the request
// carried, a number that nobody else can know.
package ping

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// ErrToMany is in Result.Err of a target that is a broadcast or multicast address. It was not asked.
var ErrToMany = sock.ErrToMany

// A Prober sends echo requests to targets with Proto probe.Echo and reports what came of them. Timeout must be
// set; the rest may be zero. One Prober makes one scan at a time.
//
// It needs what sock.NewPing needs. A target whose family has no socket is reported Unsent, with the reason.
type Prober struct {
	// Timeout is how long an answer is waited for. A first attempt waits less, once others have answered:
	// four times as long as their answers take (pace.RTT.Timeout), and no less than 500 ms.
	Timeout          time.Duration
	Concurrency      int        // requests in flight at most; 0: 4096
	Source4, Source6 netip.Addr // where requests come from; invalid: the system's choice
	Interface        string     // the only one they leave by; Linux only
}

// Available returns nil if echo requests can be sent from here by IPv4 or by IPv6, and else what they need.
func Available() error {
	var errs [2]error
	for i, v6 := range []bool{false, true} {
		s, err := sock.NewPing(v6, netip.Addr{}, "")
		if err == nil {
			return s.Close()
		}
		errs[i] = err
	}
	if errors.Is(errs[0], errors.ErrUnsupported) {
		return errs[0]
	}
	return fmt.Errorf("ICMP echo needs root, CAP_NET_RAW or a group within net.ipv4.ping_group_range: %w", errs[0])
}

// Probe implements scan.Prober.
func (p *Prober) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	own, err := sock.OwnAddrs()
	if err != nil {
		return fmt.Errorf("list this machine's addresses: %w", err)
	}
	s := newSweep(p, own, report)
	defer context.AfterFunc(ctx, s.end)()
	s.send(ctx, due)
	s.finish()
	return errors.Join(s.failed, ctx.Err())
}

const (
	defaultWindow = 4096
	maxWindow     = 1 << 14 // well below the sequence numbers there are
	batch         = 64      // asked for at once
	leastWait     = 500 * time.Millisecond
)

// When this machine is short of something, buffers or room in its neighbour table, one tries again after a
// pause; after the limit the shortage is taken to last, and the probe is given back.
const (
	shortPause = 10 * time.Millisecond
	shortLimit = 5 * time.Second
)

func (p *Prober) window() int {
	if p.Concurrency > 0 {
		return min(p.Concurrency, maxWindow)
	}
	return defaultWindow
}
