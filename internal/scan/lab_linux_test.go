package scan_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
	"sonde/internal/probe/connect"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// scanIn scans ports of the addresses with the connect prober, and returns the answers and the summary.
func scanIn(t testing.TB, prober *connect.Prober, attempts uint8, ports string, addrs ...netip.Addr) (*found, scan.Summary) {
	t.Helper()
	return scanFor(t, prober, attempts, 0, ports, addrs...)
}

// scanFor is scanIn for a recall.
func scanFor(t testing.TB, prober *connect.Prober, attempts uint8, recall float64, ports string, addrs ...netip.Addr) (*found, scan.Summary) {
	t.Helper()
	p, err := target.ParsePorts(ports, probe.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b target.Builder
	for _, a := range addrs {
		b.Add(a, a, p)
	}
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := scan.NewPlan(s, rand.Uint64())
	plan.Attempts, plan.Timeout, plan.Recall = attempts, prober.Timeout, recall
	sink := &found{}
	summary, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: whole(plan), Prober: prober, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	return sink, summary
}

// kinds is one firewall rule for each port, and what a scan must say of it.
var kinds = []struct {
	port   uint16
	do     lab.Action
	reason probe.Reason
	icmp4  probe.ICMP
	icmp6  probe.ICMP
}{
	{1000, lab.Drop, probe.NoResponse, probe.ICMP{}, probe.ICMP{}},
	{1001, lab.Reset, probe.ConnRefused, probe.ICMP{}, probe.ICMP{}},
	{1002, lab.PortUnreach, probe.PortUnreach, probe.ICMP{Type: 3, Code: 3}, probe.ICMP{Type: 1, Code: 4}},
	{1003, lab.HostUnreach, probe.HostUnreach, probe.ICMP{Type: 3, Code: 1}, probe.ICMP{Type: 1, Code: 3}},
	{1004, lab.NetUnreach, probe.NetUnreach, probe.ICMP{Type: 3, Code: 0}, probe.ICMP{Type: 1, Code: 0}},
	{1005, lab.AdminProhibited, probe.AdminProhibited, probe.ICMP{Type: 3, Code: 13}, probe.ICMP{Type: 1, Code: 1}},
}

func rules() []lab.Rule {
	var rules []lab.Rule
	for _, k := range kinds {
		rules = append(rules, lab.Rule{Ports: lab.Port(k.port), Do: k.do})
	}
	return rules
}

// The verdicts, each with its evidence, for both families: said by the host itself, and by a router on the way.
func TestVerdicts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	listen := []lab.Listener{{Ports: lab.Range(80, 82)}, {Ports: lab.Port(83), Do: lab.Abort}, {Ports: lab.Port(84), Do: lab.Hangup}}
	direct := net.Host(t, lab.Config{Listen: listen, Rules: rules(), Sysctls: lab.NoICMPLimits()})
	router := net.Host(t, lab.Config{Rules: rules(), Sysctls: lab.NoICMPLimits()})
	behind := router.Behind(t, lab.Config{Listen: listen})
	for _, c := range []struct {
		name         string
		addr, router netip.Addr
	}{
		{"direct, IPv4", direct.IPv4, netip.Addr{}},
		{"direct, IPv6", direct.IPv6, netip.Addr{}},
		{"behind a router, IPv4", behind.IPv4, router.IPv4},
		{"behind a router, IPv6", behind.IPv6, router.IPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink, s := scanIn(t, &connect.Prober{Timeout: 500 * time.Millisecond}, 2, "79-85,1000-1005", c.addr)
			for port := uint16(79); port <= 85; port++ {
				want := probe.Result{State: probe.Closed, Reason: probe.ConnRefused}
				if port >= 80 && port <= 84 {
					want = probe.Result{State: probe.Open, Reason: probe.SynAck}
				}
				check(t, sink, c.addr, port, want)
			}
			for _, k := range kinds {
				want := probe.Result{State: probe.Filtered, Reason: k.reason, ICMP: k.icmp4}
				if c.addr.Is6() {
					want.ICMP = k.icmp6
				}
				if want.ICMP != (probe.ICMP{}) {
					want.From = c.router
				}
				if k.do == lab.Reset {
					want.State = probe.Closed
				}
				if k.do != lab.Drop {
					check(t, sink, c.addr, k.port, want)
				}
			}
			if s.Open != 5 || s.Closed != 3 || s.Filtered != 5 || s.Unanswered != 1 || !s.Complete {
				t.Errorf("summary %+v", s)
			}
			for h := range s.EachHost() {
				if h.Silent.String() != "1000" {
					t.Errorf("silent ports %s, want 1000", h.Silent)
				}
			}
		})
	}
}

func check(t *testing.T, sink *found, addr netip.Addr, port uint16, want probe.Result) {
	t.Helper()
	got, ok := sink.answers[probe.Target{AddrPort: netip.AddrPortFrom(addr, port)}]
	if !ok {
		t.Errorf("port %d: no answer, want %v (%v)", port, want.State, want.Reason)
		return
	}
	if got.State != want.State || got.Reason != want.Reason || got.ICMP != want.ICMP || got.From != want.From {
		t.Errorf("port %d: %v (%v) from %v by ICMP %v; want %v (%v) from %v by %v", port,
			got.State, got.Reason, got.From, got.ICMP, want.State, want.Reason, want.From, want.ICMP)
	}
	if got.RTT <= 0 || got.Time.IsZero() || got.Attempt == 0 {
		t.Errorf("port %d: RTT %v, time %v, attempt %d", port, got.RTT, got.Time, got.Attempt)
	}
}

// What this machine's own firewall refuses says nothing of the target.
func TestOwnFirewallIsNoVerdict(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Range(80, 82)}}})
	net.Filter(t, lab.Rule{Ports: lab.Port(81), Way: lab.In, Do: lab.AdminProhibited})
	for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
		sink, s := scanIn(t, &connect.Prober{Timeout: 300 * time.Millisecond}, 2, "80-82", addr)
		if r, ok := sink.answers[probe.Target{AddrPort: netip.AddrPortFrom(addr, 81)}]; ok {
			t.Errorf("%v: our own refusal became a verdict: %+v", addr, r)
		}
		if s.Open != 2 || s.Complete && s.Unanswered != 1 {
			t.Errorf("%v: summary %+v", addr, s)
		}
	}
}

// No route, no neighbour: the first is ours, the second is silence.
func TestNobodyThere(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	host := network.Host(t, lab.Config{})
	_, s := scanIn(t, &connect.Prober{Timeout: 100 * time.Millisecond}, 2, "1-100", netip.MustParseAddr("192.0.2.1"))
	if s.Undecided != 100 || s.Complete || !errors.Is(s.LocalErr, syscall.ENETUNREACH) {
		t.Errorf("without a route: %+v", s)
	}
	b := host.IPv4.As4()
	b[3] = 77
	absent := netip.AddrFrom4(b)
	if _, err := net.DialTimeout("tcp", netip.AddrPortFrom(absent, 1).String(), 4*time.Second); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Fatalf("an absent neighbour is %v", err)
	}
	sink, s := scanIn(t, &connect.Prober{Timeout: 100 * time.Millisecond}, 2, "1-100", absent)
	if len(sink.answers) != 0 || s.Unanswered != 100 || !s.Complete {
		t.Errorf("without a neighbour: %d answers, %+v", len(sink.answers), s)
	}
}

// Packets get lost; a scan that asks the silent again finds every open port all the same.
func TestLoss(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(2000, 2049)}},
		Rules:  []lab.Rule{{Way: lab.Both, Do: lab.Lose, Percent: 5}},
	})
	sink, s := scanIn(t, &connect.Prober{Timeout: 300 * time.Millisecond}, 4, "1500-2500", host.IPv4)
	if n := sink.count()[probe.Open]; n < 49 {
		t.Errorf("%d of 50 open ports found; %+v", n, s)
	}
	for target, r := range sink.answers {
		if open := target.Port() >= 2000 && target.Port() < 2050; open != (r.State == probe.Open) {
			t.Errorf("%v is %v", target, r.State)
		}
	}
}

// A thousand listeners among 65,535 ports are found, no more and no fewer, and no port that is left out is touched.
func TestThousandListeners(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(5000, 5499)}, {Ports: lab.Range(40000, 40499)}},
		Rules:  []lab.Rule{{Ports: lab.Range(60000, 65535), Flags: lab.SYN}, {Ports: lab.Range(1, 59999), Flags: lab.SYN}},
	})
	sink, s := scanIn(t, &connect.Prober{Timeout: time.Second}, 4, "1-59999", host.IPv4)
	if n := sink.count(); n[probe.Open] != 1000 || n[probe.Closed] != 58999 || !s.Complete {
		t.Errorf("found %v; %+v", n, s)
	}
	for target, r := range sink.answers {
		p := target.Port()
		if open := p >= 5000 && p < 5500 || p >= 40000 && p < 40500; open != (r.State == probe.Open) {
			t.Errorf("%v is %v", target, r.State)
		}
	}
	if hits := host.Hits(t); hits[0] != 0 || hits[1] < 59999 {
		t.Errorf("the host saw %d SYNs to ports left out and %d to the others", hits[0], hits[1])
	}
}

// A machine without descriptors, or with few source ports, is slower and comes to the same verdicts.
func TestShortages(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Range(2000, 2099)}},
		Rules: []lab.Rule{{Ports: lab.Range(2100, 2199), Do: lab.Drop}}})
	shortage := func(t *testing.T, tells bool) {
		told := 0
		prober := &connect.Prober{Timeout: 200 * time.Millisecond, Concurrency: 100_000, OnShortage: func(error) { told++ }}
		sink, s := scanIn(t, prober, 2, "1-4000", host.IPv4)
		if n := sink.count(); n[probe.Open] != 100 || n[probe.Closed] != 3800 || s.Unanswered != 100 || !s.Complete {
			t.Errorf("found %v; %+v", n, s)
		}
		if tells && told != 1 || told > 1 {
			t.Errorf("the shortage was told %d times", told)
		}
	}
	t.Run("200 source ports", func(t *testing.T) {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("50000 50199"), 0o644); err != nil {
			t.Fatal(err)
		}
		shortage(t, false)
	})
	t.Run("64 descriptors", func(t *testing.T) {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		// Only the soft limit: the prober raises it to the hard one, so that is lowered too, in this process of its own.
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}); err != nil {
			t.Fatal(err)
		}
		for range 45 { // the prober leaves 32 to others; somebody else has taken more
			f, err := os.Open("/dev/null")
			if err != nil {
				break
			}
			defer f.Close()
		}
		shortage(t, true)
	})
}

// A family that this machine has no address of is told at once, and holds nobody up.
func TestFamilyThatIsNotThere(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{})
	for _, name := range []string{"all", "default", "lo"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644); err != nil {
			t.Skipf("IPv6 cannot be switched off: %v", err)
		}
	}
	prober := &connect.Prober{Timeout: time.Second, OnShortage: func(err error) { t.Errorf("told as a shortage: %v", err) }}
	sink, s := scanIn(t, prober, 1, "1-100", host.IPv4, netip.MustParseAddr("::1"), netip.MustParseAddr("fd99::1"))
	if n := sink.count(); n[probe.Closed] != 100 || s.Undecided != 200 || s.LocalErr == nil {
		t.Errorf("found %v; %+v", n, s)
	}
}

func TestPerHostLimitIsKept(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	silent := net.Host(t, lab.Config{Rules: []lab.Rule{{Do: lab.Drop, Flags: lab.SYN}}})
	quick := net.Host(t, lab.Config{})
	prober := &connect.Prober{Timeout: 200 * time.Millisecond, PerHost: 10}
	sink, s := scanIn(t, prober, 1, "1-50", silent.IPv4, quick.IPv4)
	if n := sink.count(); n[probe.Closed] != 50 || s.Unanswered != 50 {
		t.Errorf("found %v; %+v", n, s)
	}
	// 50 silent ports, ten at a time, take five times-out; all at once they would take one.
	if s.Elapsed < 5*prober.Timeout {
		t.Errorf("it took %v: more than 10 were in flight to one host", s.Elapsed)
	}
}

// Connecting to the ports of this machine can meet its own probes: none of them is a listener.
func TestSelfConnectIsClosed(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	_ = net
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40999"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			sink, s := scanIn(t, &connect.Prober{Timeout: time.Second}, 2, "40000-40999", netip.MustParseAddr(addr))
			if n := sink.count(); n[probe.Closed] != 1000 || !s.Complete {
				t.Errorf("%s: found %v; %+v", addr, n, s)
			}
		}
	}
}

// The source of a scan is the one that was asked for.
func TestSourceAndInterface(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	host := network.Host(t, lab.Config{})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	sink, _ := scanIn(t, &connect.Prober{Timeout: time.Second, Source4: netip.MustParseAddr("127.0.0.9")}, 1, port, netip.MustParseAddr("127.0.0.1"))
	if n := sink.count(); n[probe.Open] != 1 {
		t.Fatalf("found %v", n)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if from := conn.RemoteAddr().String(); !strings.HasPrefix(from, "127.0.0.9:") {
		t.Errorf("the probe came from %s", from)
	}
	sink, _ = scanIn(t, &connect.Prober{Timeout: 300 * time.Millisecond, Interface: "lo"}, 1, "1", host.IPv4)
	if len(sink.answers) != 0 {
		t.Errorf("a probe bound to lo reached %v: %v", host.IPv4, sink.answers)
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Rules: []lab.Rule{{Do: lab.Drop}}})
	p, _ := target.ParsePorts("-", probe.TCP, nil)
	var b target.Builder
	b.Add(host.IPv4, host.IPv4, p)
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := scan.NewPlan(s, 1)
	plan.Attempts, plan.Timeout = 4, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	summary, err := scan.Run(ctx, scan.Job{Plan: plan, Span: whole(plan), Prober: &connect.Prober{Timeout: time.Hour}, Sink: &found{}})
	if !errors.Is(err, context.Canceled) || summary.Complete {
		t.Errorf("it ended with %v, %+v", err, summary)
	}
}
