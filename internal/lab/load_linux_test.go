package lab_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// TestDelay has a host whose every word takes long: SYN-ACKs, resets, ICMP errors, datagrams.
func TestDelay(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	const delay = 200 * time.Millisecond
	host := lan.Host(t, lab.Config{
		Delay:   delay,
		Listen:  []lab.Listener{{Ports: lab.Port(80)}, {Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo}},
		Rules:   []lab.Rule{{Ports: lab.Port(100), Do: lab.AdminProhibited}, {Flags: lab.SYN | lab.ACK, Way: lab.Out}},
		Sysctls: lab.NoICMPLimits(),
	})
	behind := host.Behind(t, lab.Config{})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		prohibited := syscall.EHOSTUNREACH
		if addr.Is6() {
			prohibited = syscall.EACCES
		}
		for port, want := range map[uint16]error{80: nil, 81: syscall.ECONNREFUSED, 100: prohibited} {
			start := time.Now()
			if err := connect(addr, port, long); err != want || time.Since(start) < delay {
				t.Errorf("tcp port %d: %v after %v, want %v after %v", port, err, time.Since(start), want, delay)
			}
		}
		start := time.Now()
		if heard, err := ask(addr, 7, "x", long); heard != "x" || err != nil || time.Since(start) < delay {
			t.Errorf("udp: %q, %v after %v", heard, err, time.Since(start))
		}
		if _, err := ask(addr, 8, "x", long); err != syscall.ECONNREFUSED {
			t.Errorf("closed udp port: %v", err)
		}
	})
	if hits := host.Hits(t); hits[1] != 2 {
		t.Errorf("%d SYN-ACKs counted, want each once", hits[1])
	}
	both(t, behind, func(t *testing.T, addr netip.Addr) {
		if err := connect(addr, 80, delay); err != syscall.ECONNREFUSED {
			t.Errorf("what the host passes on: %v, want a refusal within its own delay", err)
		}
	})
}

// TestDouble has every datagram answered twice, and TCP bear it.
func TestDouble(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, lab.Config{
		Double: true,
		Listen: []lab.Listener{{Ports: lab.Port(80), Do: lab.Echo}, {Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo}},
	})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		if heard := flood(t, addr, 7, 50); heard != 100 {
			t.Errorf("%d answers to 50 datagrams, want each twice", heard)
		}
		if heard, err := tell(addr, 80, "once"); heard != "once" || err != nil {
			t.Errorf("tcp: %q, %v", heard, err)
		}
		if err := connect(addr, 81, long); err != syscall.ECONNREFUSED {
			t.Errorf("closed port: %v", err)
		}
	})
}

// TestEverythingOpen connects to every port there is of a host that has two sockets.
func TestEverythingOpen(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	local := netip.MustParsePrefix("10.7.0.0/24")
	host := lan.Host(t, lab.Config{
		Local:  []netip.Prefix{local},
		Listen: []lab.Listener{{Do: lab.Hangup}, {Ports: lab.Port(22), Banner: []byte("its own"), Do: lab.Hangup}},
		Rules:  []lab.Rule{{Ports: lab.Port(23), Do: lab.Drop}},
	})
	var failed atomic.Int64
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for port := worker; port < 1<<16; port += 16 {
				if port == 0 || port == 23 {
					continue
				}
				if err := connect(host.IPv4, uint16(port), long); err != nil && failed.Add(1) < 5 {
					t.Errorf("port %d: %v", port, err)
				}
			}
		})
	}
	all.Wait()
	for _, addr := range []netip.Addr{host.IPv6, local.Addr().Next()} {
		for _, port := range []uint16{1, 80, 65535} {
			if err := connect(addr, port, long); err != nil {
				t.Errorf("%v port %d: %v", addr, port, err)
			}
		}
	}
	if heard, err := tell(host.IPv4, 22, ""); heard != "its own" || err != nil {
		t.Errorf("the port with a listener of its own: %q, %v", heard, err)
	}
	if err := connect(host.IPv4, 23, short); err != syscall.ETIMEDOUT {
		t.Errorf("the port that is dropped: %v", err)
	}
	for port, want := range map[uint16]probe.State{22: probe.Open, 23: probe.Filtered, 65535: probe.Open} {
		target := probe.Target{AddrPort: netip.AddrPortFrom(host.IPv4, port)}
		if got := host.Config.State(target); got != want {
			t.Errorf("port %d: predicted %v, want %v", port, got, want)
		}
	}
}

// TestSlowAccept holds that a queue that is full swallows SYNs, and that one gets in as the listener gets round to it.
func TestSlowAccept(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, lab.Config{Listen: []lab.Listener{
		{Ports: lab.Port(80), Backlog: 1, Pause: time.Hour},
		{Ports: lab.Port(81), Backlog: 1, Pause: 10 * time.Millisecond},
	}})
	accepted, silent := hold(t, host.IPv4, 80, 8)
	if accepted == 0 || silent == 0 {
		t.Errorf("accepts once an hour: %d connected, %d silent", accepted, silent)
	}
	for range 8 {
		if err := connect(host.IPv4, 81, long); err != nil {
			t.Errorf("accepts slowly: %v", err)
		}
	}
}

// hold connects so often at once, and keeps what it gets until the others have given up.
func hold(t *testing.T, addr netip.Addr, port uint16, n int) (connected, silent int) {
	t.Helper()
	conns, errs := make([]net.Conn, n), make([]error, n)
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() { conns[i], errs[i] = dial("tcp", addr, port, attempt) })
	}
	all.Wait()
	for i, conn := range conns {
		if errs[i] == nil {
			connected++
			conn.Close()
		} else if errnoOf(errs[i]) == syscall.ETIMEDOUT {
			silent++
		} else {
			t.Error(errs[i])
		}
	}
	return connected, silent
}

// TestAnswer asks services that answer, and repeat an identifier.
func TestAnswer(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	service := lab.Listener{Ports: lab.Port(53), Do: lab.Answer, Reply: []byte("..answer"), Copy: []lab.Copy{{From: 1, To: 0, Len: 2}}}
	overUDP := service
	overUDP.Proto = probe.UDP
	host := lan.Host(t, lab.Config{Listen: []lab.Listener{service, overUDP}})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		if heard, err := ask(addr, 53, "?ID?", long); heard != "IDanswer" || err != nil {
			t.Errorf("udp: %q, %v", heard, err)
		}
		if heard, err := ask(addr, 53, "?", long); heard != "..answer" || err != nil {
			t.Errorf("udp, a question too short: %q, %v", heard, err)
		}
		if heard, err := tell(addr, 53, "?ID?"); heard != "IDanswer" || err != nil {
			t.Errorf("tcp: %q, %v", heard, err)
		}
		target := probe.Target{AddrPort: netip.AddrPortFrom(addr, 53), Proto: probe.UDP}
		if state := host.Config.State(target); state != probe.Open {
			t.Errorf("predicted %v", state)
		}
	})
}

// TestPing has one host answer pings, and one drop them and nothing else.
func TestPing(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	answering := lan.Host(t, lab.Config{Rules: []lab.Rule{{Proto: probe.Echo}, {Proto: probe.Echo, Way: lab.Out}}})
	mute := lan.Host(t, lab.Config{Rules: []lab.Rule{{Proto: probe.Echo, Do: lab.Drop}}})
	for host, want := range map[*lab.Host]probe.State{answering: probe.Open, mute: probe.Filtered} {
		heard := ping(t, host.IPv4)
		if heard != (want == probe.Open) {
			t.Errorf("%v: heard is %v", host.Config.Rules, heard)
		}
		if got := host.Config.State(probe.Target{AddrPort: netip.AddrPortFrom(host.IPv4, 1), Proto: probe.Echo}); got != want {
			t.Errorf("%v: predicted %v, want %v", host.Config.Rules, got, want)
		}
		if err := connect(host.IPv6, 1, long); err != syscall.ECONNREFUSED {
			t.Errorf("tcp: %v", err)
		}
	}
	if hits := answering.Hits(t); hits[0] != 1 || hits[1] != 1 {
		t.Errorf("requests and replies: %v, want one each", hits)
	}
}

// ping reports whether a host answers an ICMP echo request.
func ping(t *testing.T, addr netip.Addr) bool {
	t.Helper()
	conn, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		t.Skip(err)
	}
	defer conn.Close()
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: 1}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(request, &net.IPAddr{IP: addr.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(short)); err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.ReadFrom(make([]byte, 1500))
	return err == nil
}
