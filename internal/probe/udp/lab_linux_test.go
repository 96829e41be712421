package udp

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// kinds is one firewall rule for each port, and what a scan must say of it.
var kinds = []struct {
	port   uint16
	do     lab.Action
	reason probe.Reason
	icmp4  probe.ICMP
	icmp6  probe.ICMP
}{
	{1000, lab.Drop, probe.NoResponse, probe.ICMP{}, probe.ICMP{}},
	{1002, lab.PortUnreach, probe.PortUnreach, probe.ICMP{Type: 3, Code: 3}, probe.ICMP{Type: 1, Code: 4}},
	{1003, lab.HostUnreach, probe.HostUnreach, probe.ICMP{Type: 3, Code: 1}, probe.ICMP{Type: 1, Code: 3}},
	{1004, lab.NetUnreach, probe.NetUnreach, probe.ICMP{Type: 3, Code: 0}, probe.ICMP{Type: 1, Code: 0}},
	{1005, lab.AdminProhibited, probe.AdminProhibited, probe.ICMP{Type: 3, Code: 13}, probe.ICMP{Type: 1, Code: 1}},
}

func rules() (rules []lab.Rule) {
	for _, k := range kinds {
		rules = append(rules, lab.Rule{Proto: probe.UDP, Ports: lab.Port(k.port), Do: k.do})
	}
	return rules
}

// codes are rules for the other codes of IPv4's destination unreachable that Linux's firewall can send (RFC 1122, RFC 1812).
func codes() (rules []lab.Rule, want map[uint16]probe.Reason) {
	want = map[uint16]probe.Reason{2002: probe.ProtoUnreach, 2009: probe.NetProhibited, 2010: probe.HostProhibited}
	for port := range want {
		rules = append(rules, lab.Rule{Proto: probe.UDP, Ports: lab.Port(port), Do: lab.Unreach, Code: uint8(port - 2000)})
	}
	return rules, want
}

type verdict struct {
	state  probe.State
	reason probe.Reason
	from   netip.Addr
	icmp   probe.ICMP
}

func verdictOf(r probe.Result) verdict { return verdict{r.State, r.Reason, r.From, r.ICMP} }

// The verdicts, each with its evidence, for both families: said by the host itself, and by a router on the way.
func TestVerdicts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	listen := []lab.Listener{
		{Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo},
		{Proto: probe.UDP, Ports: lab.Range(3000, 3002), Do: lab.Echo},
		{Proto: probe.UDP, Ports: lab.Port(13), Do: lab.Answer, Reply: []byte("Sunday, November 22, 2026 15:00:00-UTC\r\n")},
		{Proto: probe.UDP, Ports: lab.Port(123), Do: lab.Echo},                                                     // answers, but not as NTP does
		{Proto: probe.UDP, Ports: lab.Port(37), Do: lab.Answer, Reply: []byte("\xee\xb1\x00\x00\x00\x00\x00\x00")}, // nor this as the time does
		{Proto: probe.UDP, Ports: lab.Port(4000)},
	}
	more, byCode := codes()
	direct := net.Host(t, lab.Config{Listen: listen, Rules: append(rules(), more...), Sysctls: lab.NoICMPLimits()})
	router := net.Host(t, lab.Config{Rules: append(rules(), more...), Sysctls: lab.NoICMPLimits()})
	behind := router.Behind(t, lab.Config{Listen: listen, Sysctls: lab.NoICMPLimits()})
	for _, c := range []struct {
		name         string
		addr, router netip.Addr
		ttl          uint8
	}{
		{"direct, IPv4", direct.IPv4, netip.Addr{}, 64},
		{"direct, IPv6", direct.IPv6, netip.Addr{}, 64},
		{"behind a router, IPv4", behind.IPv4, router.IPv4, 63},
		{"behind a router, IPv6", behind.IPv6, router.IPv6, 63},
	} {
		t.Run(c.name, func(t *testing.T) {
			wants := map[uint16]verdict{}
			for _, port := range []uint16{7, 13, 3000, 3001, 3002} {
				wants[port] = verdict{state: probe.Open, reason: probe.UDPResponse}
			}
			for _, port := range []uint16{37, 123, 4000} {
				wants[port] = verdict{state: probe.OpenFiltered, reason: probe.NoResponse}
			}
			shut := verdict{probe.Closed, probe.PortUnreach, netip.Addr{}, probe.ICMP{Type: 3, Code: 3}}
			if c.addr.Is6() {
				shut.icmp = probe.ICMP{Type: 1, Code: 4}
			}
			wants[5000] = shut
			for _, k := range kinds {
				want := verdict{probe.Filtered, k.reason, c.router, k.icmp4}
				if c.addr.Is6() {
					want.icmp = k.icmp6
				}
				switch {
				case k.do == lab.Drop:
					want = verdict{state: probe.OpenFiltered, reason: probe.NoResponse}
				case k.do == lab.PortUnreach && !c.router.IsValid():
					want.state = probe.Closed
				}
				wants[k.port] = want
			}
			for port, reason := range byCode {
				if c.addr.Is4() {
					wants[port] = verdict{probe.Filtered, reason, c.router, probe.ICMP{Type: 3, Code: uint8(port - 2000)}}
				}
			}
			var ask []probe.Probe
			for port := range wants {
				ask = append(ask, probe.Probe{Target: udpTarget(c.addr.String(), port), Attempt: 1})
			}
			got := answers(t, &Prober{Timeout: 500 * time.Millisecond}, ask...)
			for port, want := range wants {
				r := got[udpTarget(c.addr.String(), port)]
				if verdictOf(r) != want || (r.RTT > 0) != !r.Reason.Silent() {
					t.Errorf("port %d: %+v, want %+v", port, r, want)
				}
				if r.State == probe.Open && r.TTL != c.ttl {
					t.Errorf("port %d: TTL %d, want %d", port, r.TTL, c.ttl)
				}
			}
		})
	}
}

// What cannot be asked is ours to say, and never a verdict.
func TestUnsent(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	h := net.Host(t, lab.Config{})
	net.Filter(t, lab.Rule{Proto: probe.UDP, Ports: lab.Port(80), Do: lab.Drop}, lab.Rule{Proto: probe.UDP, Ports: lab.Port(81), Do: lab.PortUnreach})
	refused := netipx.PrefixIPNet(netip.MustParsePrefix("203.0.113.0/24"))
	if err := netlink.RouteAdd(&netlink.Route{Dst: refused, Type: unix.RTN_UNREACHABLE}); err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]error{
		"198.18.1.255:9":                        sock.ErrToMany,
		"255.255.255.255:9":                     sock.ErrToMany,
		"224.0.0.1:9":                           sock.ErrToMany,
		"[ff02::1%lab1]:9":                      sock.ErrToMany,
		"192.0.2.1:9":                           syscall.ENETUNREACH, // no route
		"[2001:db8::1]:9":                       syscall.ENETUNREACH,
		"203.0.113.1:9":                         syscall.EHOSTUNREACH,
		netip.AddrPortFrom(h.IPv4, 80).String(): syscall.EPERM,
		netip.AddrPortFrom(h.IPv6, 80).String(): syscall.EPERM,
		netip.AddrPortFrom(h.IPv4, 81).String(): nil, // the rule's own ICMP error
		netip.AddrPortFrom(h.IPv6, 81).String(): nil,
	} {
		p := probe.Probe{Target: probe.Target{AddrPort: netip.MustParseAddrPort(asked), Proto: probe.UDP}, Attempt: 1}
		r := answers(t, &Prober{Timeout: 2 * time.Second}, p)[p.Target]
		if r.State != probe.Unsent || r.Reason != probe.LocalError || r.Err == nil || want != nil && !errors.Is(r.Err, want) {
			t.Errorf("%s: %+v, want %v", asked, r, want)
		}
	}
}

// Nobody has the address: that is silence, and its cause is known. Link-local addresses are asked with their zone.
func TestNeighbours(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	h := net.Host(t, lab.Config{Listen: []lab.Listener{{Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo}}})
	nobody := func(near netip.Addr) netip.Addr {
		for range 75 {
			near = near.Next()
		}
		return near
	}
	var ask []probe.Probe
	for _, a := range []netip.Addr{nobody(h.IPv4), nobody(h.IPv6)} {
		ask = append(ask, asks(a.String(), 1, 7, 7)...)
	}
	local := asks("fe80::2%lab1", 1, 7, 8)
	got := answers(t, &Prober{Timeout: 5 * time.Second}, append(ask, local...)...)
	for _, p := range ask {
		if r := got[p.Target]; r.State != probe.OpenFiltered || r.Reason != probe.NoNeighbor {
			t.Errorf("%+v", r)
		}
	}
	if got[local[0].Target].State != probe.Open || got[local[1].Target].State != probe.Closed {
		t.Errorf("link-local: %+v", got)
	}
}

// Loopback, by every name: open, closed, and a whole range that has the scan's own sockets in it.
func TestLoopback(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	for _, addr := range []string{"127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::"} {
		// A machine under load may answer itself too late, or drop what it sends itself: that is asked again, as a scan does.
		p, ask := &Prober{Timeout: time.Second}, asks(addr, 1, 32768, 60999)
		for attempt := uint8(1); attempt <= 4 && len(ask) > 0; attempt++ {
			var silent []probe.Probe
			for asked, r := range answers(t, p, ask...) {
				switch r.State {
				case probe.Closed:
				case probe.OpenFiltered:
					silent = append(silent, probe.Probe{Target: asked, Attempt: attempt + 1})
				default:
					t.Errorf("%+v", r)
				}
			}
			ask = silent
		}
		if len(ask) > 0 {
			t.Errorf("%s: %d are silent", addr, len(ask))
		}
	}
}

func TestSourceAndInterface(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	near, other := net.Host(t, lab.Config{}), net.Host(t, lab.Config{})
	p := &Prober{Timeout: time.Second, Source4: netip.MustParseAddr("198.18.1.1"), Source6: netip.MustParseAddr("fd00:1::1"), Interface: "lab1"}
	got := answers(t, p, append(append(asks(near.IPv4.String(), 1, 9, 9), asks(near.IPv6.String(), 1, 9, 9)...), asks(other.IPv4.String(), 1, 9, 9)...)...)
	for asked, r := range got {
		if (r.State == probe.Closed) != (asked.Addr() != other.IPv4) {
			t.Errorf("%+v", r)
		}
	}
}

// news is the last that was heard of each target.
type news map[probe.Target]probe.Result

// Put implements scan.Sink.
func (n news) Put(answers []probe.Result) error {
	for _, r := range answers {
		n[r.Target] = r
	}
	return nil
}

// Linux sends one asker six ICMP errors and then one a second. Three such hosts are asked at that pace, all at once, and
// nobody waits for them who does not limit.
func TestLinuxLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	net := lab.Enter(t)
	if net == nil {
		return
	}
	p, err := target.ParsePorts("U:6000-6019", probe.UDP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b target.Builder
	free := net.Host(t, lab.Config{Sysctls: lab.NoICMPLimits()})
	b.Add(free.IPv4, free.IPv4, p)
	for range 3 {
		h := net.Host(t, lab.Config{})
		b.Add(h.IPv4, h.IPv4, p)
	}
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := scan.NewPlan(space, 7)
	plan.Attempts, plan.Timeout = 4, time.Second
	heard := news{}
	start := time.Now()
	s, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: plan.Whole(), Prober: &Prober{Timeout: time.Second}, Sink: heard})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v, %d probes", time.Since(start), s.Probes)
	last := time.Time{}
	for asked, r := range heard {
		if r.State != probe.Closed {
			t.Errorf("%+v", r)
		}
		if asked.Addr() == free.IPv4 && r.Attempt != 1 {
			t.Errorf("the host without a limit: %+v", r)
		}
		if asked.Addr() != free.IPv4 && r.Time.After(last) {
			last = r.Time
		}
	}
	if len(heard) != 80 || s.Closed != 80 {
		t.Errorf("%d of 80 closed ports, %d answers", s.Closed, len(heard))
	}
	for asked, r := range heard {
		if asked.Addr() == free.IPv4 && !r.Time.Before(last) {
			t.Errorf("%+v waited for the others", r)
		}
	}
}
