package ping

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

var (
	target = netip.MustParseAddr("192.0.2.1")
	router = netip.MustParseAddr("192.0.2.254")
	ours   = netip.MustParseAddr("198.51.100.1")
)

// inFlight returns a sweep with one request in flight, number 7 with cookie 42, and what it reports.
func inFlight() (*sweep, *line, *[]probe.Result) {
	var reported []probe.Result
	s := newSweep(&Prober{Timeout: time.Second}, map[netip.Addr]bool{ours: true}, func(r probe.Result) { reported = append(reported, r) })
	f := flight{probe: probe.Probe{Target: probe.Target{AddrPort: netip.AddrPortFrom(target, 1), Proto: probe.Echo}, Attempt: 1}, cookie: 42, sent: time.Now()}
	l := &line{flights: map[uint16]flight{7: f}, order: []departure{{7, 42}}}
	s.flying = 1
	return s, l, &reported
}

func cookie(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Only the answer to the question counts, and only once.
func TestOnlyTheRightAnswerCounts(t *testing.T) {
	right := sock.Echo{Peer: target, Seq: 7, TTL: 61, Data: cookie(42)}
	for name, e := range map[string]sock.Echo{
		"another host's":     {Peer: router, Seq: 7, Data: cookie(42)},
		"another number":     {Peer: target, Seq: 8, Data: cookie(42)},
		"another cookie":     {Peer: target, Seq: 7, Data: cookie(43)},
		"no cookie":          {Peer: target, Seq: 7},
		"error on another":   {Peer: router, Seq: 7, Refused: true, Refusal: sock.ICMPError{Type: 3, Code: 1, From: router}},
		"packet too big":     {Peer: target, Seq: 7, Refused: true, Refusal: sock.ICMPError{Type: 3, Code: 99, From: router}},
		"source is quenched": {Peer: target, Seq: 7, Refused: true, Refusal: sock.ICMPError{Type: 4, From: router}},
	} {
		s, l, reported := inFlight()
		s.land(l, e, time.Now())
		if len(*reported) > 0 || s.flying != 1 {
			t.Errorf("%s: %+v", name, *reported)
		}
		s.land(l, right, time.Now())
		s.land(l, right, time.Now())
		s.expire(l, time.Now().Add(time.Hour))
		if len(*reported) != 1 || (*reported)[0].State != probe.Open || (*reported)[0].TTL != 61 || s.flying != 0 {
			t.Errorf("after %s: %+v, %d in flight", name, *reported, s.flying)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		e    sock.ICMPError
		want probe.Result
	}{
		"a router":         {sock.ICMPError{Type: 3, Code: 13, From: router}, probe.Result{State: probe.Filtered, Reason: probe.AdminProhibited, From: router, ICMP: probe.ICMP{Type: 3, Code: 13}}},
		"the target":       {sock.ICMPError{Type: 3, Code: 10, From: target}, probe.Result{State: probe.Filtered, Reason: probe.HostProhibited, ICMP: probe.ICMP{Type: 3, Code: 10}}},
		"no neighbour":     {sock.ICMPError{Type: 3, Code: 1, From: ours, Errno: syscall.EHOSTUNREACH}, probe.Result{State: probe.Filtered, Reason: probe.NoResponse}},
		"our own firewall": {sock.ICMPError{Type: 3, Code: 3, From: ours, Errno: syscall.ECONNREFUSED}, probe.Result{State: probe.Unsent, Reason: probe.LocalError}},
	} {
		s, l, reported := inFlight()
		s.land(l, sock.Echo{Peer: target, Seq: 7, Refused: true, Refusal: c.e}, time.Now())
		if len(*reported) != 1 {
			t.Errorf("%s: %+v", name, *reported)
			continue
		}
		r := (*reported)[0]
		if r.State != c.want.State || r.Reason != c.want.Reason || r.From != c.want.From || r.ICMP != c.want.ICMP || (r.Err != nil) != (r.State == probe.Unsent) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A first attempt waits less once others have answered; a second one has all the time there is.
func TestDeadlines(t *testing.T) {
	s, l, _ := inFlight()
	f := l.flights[7]
	wait := func() time.Duration { return s.deadline(f).Sub(f.sent) }
	if wait() != time.Second {
		t.Errorf("nothing known: %v", wait())
	}
	s.rtt.Observe(time.Millisecond)
	if wait() != leastWait {
		t.Errorf("fast hosts: %v", wait())
	}
	f.probe.Attempt = 2
	if wait() != time.Second {
		t.Errorf("second attempt: %v", wait())
	}
	f.probe.Attempt = 1
	s.rtt.Observe(10 * time.Second)
	if wait() != time.Second {
		t.Errorf("slow hosts: %v", wait())
	}
}
