package lab_test

import (
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// rejects are the ways to refuse, and what Linux makes of their ICMP messages for connect(2).
var rejects = []struct {
	rule   lab.Rule
	v4, v6 syscall.Errno
}{
	{lab.Rule{Do: lab.Reset}, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
	{lab.Rule{Do: lab.PortUnreach}, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
	{lab.Rule{Do: lab.HostUnreach}, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
	{lab.Rule{Do: lab.NetUnreach}, syscall.ENETUNREACH, syscall.ENETUNREACH},
	{lab.Rule{Do: lab.AdminProhibited}, syscall.EHOSTUNREACH, syscall.EACCES},
	{lab.Rule{Do: lab.Unreach, Code: 2}, syscall.ENOPROTOOPT, syscall.EHOSTUNREACH},
	{lab.Rule{Do: lab.Unreach, Code: 6}, syscall.ENETUNREACH, syscall.EACCES},
	{lab.Rule{Do: lab.Unreach, Code: 10}, syscall.EHOSTUNREACH, 0},
}

// rejecting returns rules that refuse TCP ports 100, 101, … in the ways of rejects.
func rejecting() lab.Config {
	c := lab.Config{Listen: []lab.Listener{{Ports: lab.Port(99)}}, Sysctls: lab.NoICMPLimits()}
	for i, r := range rejects {
		r.rule.Ports = lab.Port(uint16(100 + i))
		c.Rules = append(c.Rules, r.rule)
	}
	return c
}

func checkRejects(t *testing.T, addr netip.Addr) {
	t.Helper()
	if err := connect(addr, 99, long); err != nil {
		t.Errorf("open port beside them: %v", err)
	}
	for i, r := range rejects {
		want := r.v4
		if addr.Is6() {
			want = r.v6
		}
		if want == 0 {
			continue
		}
		if err := connect(addr, uint16(100+i), long); err != want {
			t.Errorf("%v (code %d): %v, want %v", r.rule.Do, r.rule.Code, err, want)
		}
	}
}

func TestReject(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	both(t, net.Host(t, rejecting()), checkRejects)
}

// TestRouter has the packets refused on the way: what lies behind accepts them all.
func TestRouter(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	far := netip.MustParsePrefix("10.9.0.0/24")
	first := net.Host(t, lab.Config{})
	second := first.Behind(t, rejecting())
	host := second.Behind(t, lab.Config{
		Local:  []netip.Prefix{far},
		Listen: []lab.Listener{{Ports: lab.Range(1, 200)}, {Proto: probe.UDP, Ports: lab.Port(100), Do: lab.Echo}},
	})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		checkRejects(t, addr)
		if err := connect(addr, 200, long); err != nil {
			t.Errorf("port that the router lets through: %v", err)
		}
		if heard, err := ask(addr, 100, "x", long); heard != "x" || err != nil {
			t.Errorf("udp, which the router's rules do not name: %q, %v", heard, err)
		}
	})
	if err := connect(far.Addr().Next(), 99, long); err != nil {
		t.Errorf("address of a prefix two routers away: %v", err)
	}
	if hits := second.Hits(t); hits[0] != 2 {
		t.Errorf("the router reset %d connections of 2", hits[0])
	}
}

func TestLoss(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	lose := func(percent uint8, way lab.Way) lab.Rule {
		return lab.Rule{Proto: probe.UDP, Ports: lab.Port(uint16(100 + int(percent))), Way: way, Do: lab.Lose, Percent: percent}
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Proto: probe.UDP, Ports: lab.Range(100, 200), Do: lab.Echo}},
		Rules:  []lab.Rule{lose(0, lab.Both), lose(100, lab.In), lose(50, lab.Both), lose(99, lab.Out), lose(99, lab.Out)},
	})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		for range 50 {
			if _, err := ask(addr, 100, "x", long); err != nil {
				t.Fatalf("0 percent: %v", err)
			}
		}
		if _, err := ask(addr, 200, "x", short); err != syscall.ETIMEDOUT {
			t.Errorf("100 percent: %v", err)
		}
		before := host.Hits(t)[2]
		if heard := flood(t, addr, 150, 400); heard == 0 || heard == 400 {
			t.Errorf("50 percent, both ways: %d of 400 came back", heard)
		}
		if lost := host.Hits(t)[2] - before; lost == 0 || lost >= 800 {
			t.Errorf("50 percent, both ways: %d packets lost", lost)
		}
		if heard := flood(t, addr, 199, 200); heard > 100 {
			t.Errorf("99 percent of the replies, and again: %d of 200 came back", heard)
		}
	})
	if hits := host.Hits(t); hits[0] != 0 || hits[1] != 2 {
		t.Errorf("lost at 0 and at 100 percent: %v, want 0 and 2 first", hits)
	}
}

// flood sends n datagrams, numbered, and returns how many came back.
func flood(t *testing.T, addr netip.Addr, port uint16, n int) (heard int) {
	t.Helper()
	conn, err := dial("udp", addr, port, long)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range n {
		if _, err := conn.Write([]byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	for buf := make([]byte, 64); ; heard++ {
		if err := conn.SetReadDeadline(time.Now().Add(short)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			return heard
		}
	}
}

// TestLimit lets a closed host say so five times at once and once a second, as hosts do that limit their RSTs.
func TestLimit(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Rules: []lab.Rule{{Way: lab.Out, Flags: lab.RST, Do: lab.Limit, PerSecond: 1}}})
	seen := connectAll(host.IPv4, 10)
	refused, silent := 0, 0
	for port, err := range seen {
		switch err {
		case syscall.ECONNREFUSED:
			refused++
		case syscall.ETIMEDOUT:
			silent++
		default:
			t.Errorf("port %d: %v", port+1, err)
		}
	}
	if refused < 5 || silent == 0 || host.Hits(t)[0] < uint64(silent) {
		t.Errorf("%d refused, %d silent, %d swallowed", refused, silent, host.Hits(t)[0])
	}
}

// connectAll connects to ports 1 to n at once, and returns what each ends with before the kernel would try again.
func connectAll(addr netip.Addr, n uint16) []error {
	seen := make([]error, n)
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() { seen[i] = connect(addr, uint16(i+1), attempt) })
	}
	all.Wait()
	return seen
}

// TestNetworks has one host answer 65,536 addresses, and an IPv6 network, some of them by a rule of their own.
func TestNetworks(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	v4, v6 := netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:1::/64")
	inner := netip.MustParsePrefix("10.1.2.0/24")
	host := net.Host(t, lab.Config{
		Local:   []netip.Prefix{v4, v6},
		Listen:  []lab.Listener{{Ports: lab.Port(80)}, {Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo}},
		Sysctls: lab.NoICMPLimits(),
		Rules: []lab.Rule{
			{Addrs: inner, Flags: lab.SYN, Do: lab.Count},
			{Addrs: inner, Do: lab.AdminProhibited},
			{Addrs: v6, Flags: lab.SYN, Do: lab.Count},
		},
	})
	for _, addr := range []string{"10.1.0.0", "10.1.0.1", "10.1.255.255", "2001:db8:1::", "2001:db8:1::ffff", host.IPv4.String(), host.IPv6.String()} {
		addr := netip.MustParseAddr(addr)
		if err := connect(addr, 80, long); err != nil {
			t.Errorf("%v, open port: %v", addr, err)
		}
		if err := connect(addr, 81, long); err != syscall.ECONNREFUSED {
			t.Errorf("%v, closed port: %v", addr, err)
		}
		if heard, err := ask(addr, 7, "x", long); heard != "x" || err != nil {
			t.Errorf("%v, udp echo: %q, %v", addr, heard, err)
		}
		if _, err := ask(addr, 8, "x", long); err != syscall.ECONNREFUSED {
			t.Errorf("%v, closed udp port: %v", addr, err)
		}
	}
	for addr := inner.Addr(); inner.Contains(addr); addr = addr.Next() {
		if err := connect(addr, 80, long); err != syscall.EHOSTUNREACH {
			t.Fatalf("%v, prohibited: %v", addr, err)
		}
	}
	if hits := host.Hits(t); hits[0] != 256 || hits[1] != 256 || hits[2] != 4 {
		t.Errorf("the host saw %v, want 256 SYNs, 256 refused, 4 SYNs over IPv6", hits)
	}
}

// TestFilter has a firewall of the client's own stand in the way.
func TestFilter(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Port(80)}, {Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo}},
		Rules:  []lab.Rule{{Flags: lab.SYN}},
	})
	t.Run("drop", func(t *testing.T) {
		net.Filter(t, lab.Rule{Ports: lab.Port(80), Do: lab.Drop}, lab.Rule{Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Drop})
		if err := connect(host.IPv4, 80, short); err != syscall.ETIMEDOUT {
			t.Errorf("tcp: %v", err)
		}
		if _, err := ask(host.IPv6, 7, "x", short); err != syscall.EPERM {
			t.Errorf("udp: %v", err)
		}
		if hits := net.Hits(t); hits[0] != 1 || hits[1] != 1 {
			t.Errorf("dropped %v, want one each", hits)
		}
		if hits := host.Hits(t); hits[0] != 0 {
			t.Errorf("%d SYNs got out", hits[0])
		}
	})
	if err := connect(host.IPv4, 80, long); err != nil {
		t.Errorf("after the filter has gone: %v", err)
	}
}

// TestState holds the verdict that a Config predicts against what its host does.
func TestState(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(1, 8)}, {Proto: probe.UDP, Ports: lab.Range(1, 8), Do: lab.Echo}, {Proto: probe.UDP, Ports: lab.Port(9)}},
		Rules: []lab.Rule{
			{},
			{Ports: lab.Port(1), Do: lab.Accept},
			{Ports: lab.Range(1, 2), Do: lab.Reset},
			{Ports: lab.Port(3), Do: lab.Drop},
			{Ports: lab.Port(4), Do: lab.HostUnreach},
			{Ports: lab.Port(5), Addrs: netip.MustParsePrefix("192.0.2.0/24"), Do: lab.Drop},
			{Ports: lab.Port(6), Do: lab.Drop, Flags: lab.FIN},
			{Proto: probe.UDP, Ports: lab.Port(3), Do: lab.Drop},
			{Proto: probe.UDP, Ports: lab.Port(4), Do: lab.HostUnreach},
			{Proto: probe.UDP, Ports: lab.Port(5), Do: lab.PortUnreach},
		},
		Sysctls: lab.NoICMPLimits(),
	})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		tcp, udp := connectAll(addr, 10), askAll(addr, 10)
		for i := range tcp {
			port := uint16(i + 1)
			for _, seen := range []struct {
				proto probe.Proto
				state probe.State
			}{{probe.TCP, verdict(probe.TCP, tcp[i])}, {probe.UDP, verdict(probe.UDP, udp[i])}} {
				target := probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: seen.proto}
				if want := host.Config.State(target); seen.state != want {
					t.Errorf("%v %v: predicted %v, is %v", seen.proto, target, want, seen.state)
				}
			}
		}
	})
}

func askAll(addr netip.Addr, n uint16) []error {
	seen := make([]error, n)
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() { _, seen[i] = ask(addr, uint16(i+1), "x", attempt) })
	}
	all.Wait()
	return seen
}

func verdict(proto probe.Proto, err error) probe.State {
	switch {
	case err == nil:
		return probe.Open
	case err == syscall.ECONNREFUSED:
		return probe.Closed
	case err == syscall.ETIMEDOUT && proto == probe.UDP:
		return probe.OpenFiltered
	}
	return probe.Filtered
}
