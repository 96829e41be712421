package ping

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/probe"
	"sonde/internal/sock"
)

// withPingSockets lets this process use ping sockets, or leaves it at raw ones as every namespace begins, and checks
// that the kernel agrees.
func withPingSockets(t *testing.T, allowed bool) {
	t.Helper()
	if allowed {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, v6 := range []bool{false, true} {
		s, err := sock.NewPing(v6, netip.Addr{}, "")
		if err != nil {
			t.Fatal(err)
		}
		if s.Raw() == allowed {
			t.Errorf("v6 %v: raw %v", v6, s.Raw())
		}
		_ = s.Close()
	}
}

// eitherSocket runs test with ping sockets and with raw ones: they must come to the same verdicts.
func eitherSocket(t *testing.T, test func(t *testing.T)) {
	for _, allowed := range []bool{false, true} {
		t.Run(map[bool]string{true: "ping socket", false: "raw socket"}[allowed], func(t *testing.T) {
			withPingSockets(t, allowed)
			test(t)
		})
	}
}

func TestVerdicts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	mute := net.Host(t, lab.Config{Sysctls: map[string]string{"net.ipv4.icmp_echo_ignore_all": "1", "net.ipv6.icmp.echo_ignore_all": "1"}})
	router := net.Host(t, lab.Config{Sysctls: lab.NoICMPLimits()})
	behind := router.Behind(t, lab.Config{})
	nobody := func(near netip.Addr) netip.Addr { // on the link of near
		for range 75 {
			near = near.Next()
		}
		return near
	}
	linkLocal := netip.MustParseAddr("fe80::2%lab2")
	type want struct {
		state  probe.State
		reason probe.Reason
		from   netip.Addr
		icmp   probe.ICMP
		ttl    uint8
	}
	alive := func(ttl uint8) want { return want{state: probe.Open, reason: probe.EchoReply, ttl: ttl} }
	silent := want{state: probe.Filtered, reason: probe.NoResponse}
	wants := map[netip.Addr]want{
		router.IPv4: alive(64), router.IPv6: alive(64), behind.IPv4: alive(63), behind.IPv6: alive(63), linkLocal: alive(64),
		netip.MustParseAddr("127.0.0.1"): alive(64), netip.IPv4Unspecified(): alive(64), netip.IPv6Loopback(): alive(64),
		mute.IPv4: silent, mute.IPv6: silent, nobody(router.IPv4): silent, nobody(router.IPv6): silent,
		// Nobody is there, and the router, having asked its link for three seconds, says so.
		nobody(behind.IPv4): {probe.Filtered, probe.HostUnreach, router.IPv4, probe.ICMP{Type: 3, Code: 1}, 0},
		nobody(behind.IPv6): {probe.Filtered, probe.HostUnreach, router.IPv6, probe.ICMP{Type: 1, Code: 3}, 0},
	}
	eitherSocket(t, func(t *testing.T) {
		var addrs []netip.Addr
		for a := range wants {
			addrs = append(addrs, a)
		}
		got := answers(t, &Prober{Timeout: 5 * time.Second}, asking(2, addrs...))
		for a, w := range wants {
			r := got[a]
			if (want{r.State, r.Reason, r.From, r.ICMP, r.TTL}) != w || r.Method != probe.Ping || r.Attempt != 2 || (r.RTT > 0) != (r.State == probe.Open) {
				t.Errorf("%v: %+v, want %+v", a, r, w)
			}
		}
	})
}

// What cannot be asked is ours to say, and never a verdict.
func TestUnsent(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	net.Host(t, lab.Config{})
	refused := netipx.PrefixIPNet(netip.MustParsePrefix("203.0.113.0/24"))
	if err := netlink.RouteAdd(&netlink.Route{Dst: refused, Type: unix.RTN_UNREACHABLE}); err != nil {
		t.Fatal(err)
	}
	eitherSocket(t, func(t *testing.T) {
		for addr, want := range map[string]error{
			"198.18.1.255":    ErrToMany,
			"255.255.255.255": ErrToMany,
			"224.0.0.1":       ErrToMany,
			"ff02::1%lab1":    ErrToMany,
			"192.0.2.1":       syscall.ENETUNREACH, // no route
			"2001:db8::1":     syscall.ENETUNREACH,
			"203.0.113.1":     syscall.EHOSTUNREACH,
		} {
			a := netip.MustParseAddr(addr)
			r := answers(t, &Prober{Timeout: 2 * time.Second}, asking(1, a))[a]
			if r.State != probe.Unsent || r.Reason != probe.LocalError || !errors.Is(r.Err, want) {
				t.Errorf("%s: %+v, want %v", addr, r, want)
			}
		}
	})
}

// A whole network, with few requests at once and with many.
func TestManyHosts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	prefix := netip.MustParsePrefix("10.9.0.0/21")
	net.Host(t, lab.Config{Local: []netip.Prefix{prefix}})
	var addrs []netip.Addr
	for a := prefix.Addr(); prefix.Contains(a); a = a.Next() {
		addrs = append(addrs, a)
	}
	eitherSocket(t, func(t *testing.T) {
		for _, concurrency := range []int{0, 10} {
			open := 0
			for _, r := range answers(t, &Prober{Timeout: 10 * time.Second, Concurrency: concurrency}, asking(2, addrs...)) {
				if r.State == probe.Open {
					open++
				}
			}
			if open != len(addrs) {
				t.Errorf("%d at once: %d of %d answered", concurrency, open, len(addrs))
			}
		}
	})
}

func TestSourceAndInterface(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host, other := net.Host(t, lab.Config{}), net.Host(t, lab.Config{})
	near4, near6 := netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("fd00:1::1")
	eitherSocket(t, func(t *testing.T) {
		got := answers(t, &Prober{Timeout: time.Second, Source4: near4, Source6: near6, Interface: "lab1"}, asking(2, host.IPv4, host.IPv6, other.IPv4))
		if got[host.IPv4].State != probe.Open || got[host.IPv6].State != probe.Open || got[other.IPv4].State == probe.Open {
			t.Errorf("%+v", got)
		}
		r := answers(t, &Prober{Timeout: time.Second, Source4: netip.MustParseAddr("192.0.2.9")}, asking(1, host.IPv4))[host.IPv4]
		if r.State != probe.Unsent || r.Err == nil || !strings.Contains(r.Err.Error(), "192.0.2.9") {
			t.Errorf("from an address that is not ours: %+v", r)
		}
	})
}

// An interrupted sweep ends at once, though nobody has answered.
func TestInterrupted(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	nobody := host.IPv4.Next()
	due := &list{probes: append(asking(1, nobody).probes, asking(1, host.IPv4).probes...)}
	err := (&Prober{Timeout: time.Hour}).Probe(ctx, due, func(r probe.Result) {
		if r.Target.Addr() != host.IPv4 {
			t.Errorf("%+v", r)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Without the privilege it is said what is needed.
func TestUnavailable(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	withPingSockets(t, false)
	if err := Available(); err != nil {
		t.Fatal(err)
	}
	denied, told := make(chan error), make(chan probe.Result, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread, without its capabilities, ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			denied <- nil
			return
		}
		err := Available()
		_ = (&Prober{Timeout: time.Second}).Probe(context.Background(), asking(1, netip.IPv6Loopback()), func(r probe.Result) { told <- r })
		denied <- err
	}()
	err := <-denied
	if err == nil || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "ping_group_range") {
		t.Fatalf("error %v", err)
	}
	if r := <-told; r.State != probe.Unsent || !errors.Is(r.Err, os.ErrPermission) {
		t.Errorf("%+v", r)
	}
}
