package route

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
)

func prefix(s string) *net.IPNet { return netipx.PrefixIPNet(netip.MustParsePrefix(s)) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, c Config) *Table {
	t.Helper()
	table, err := Open(c)
	must(t, err)
	return table
}

func index(t testing.TB, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	return link.Attrs().Index
}

func set(t testing.TB, sysctl, value string) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/"+sysctl, []byte(value), 0))
}

func giveAddr(t testing.TB, name, addr string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(strings.Split(addr, "/")[0]), Mask: prefix(addr).Mask}, Flags: unix.IFA_F_NODAD}))
}

func addRoute(t testing.TB, r netlink.Route) {
	t.Helper()
	must(t, netlink.RouteAdd(&r))
}

// town is a network with some of everything: two links with two addresses each, default routes, more specific ones with a source or an
// MTU of their own, routes to nowhere, rules.
func town(t testing.TB) (one, two *lab.Host) {
	t.Helper()
	n := lab.Enter(t)
	if n == nil {
		return nil, nil
	}
	set(t, "net/ipv6/conf/default/accept_dad", "0") // for two seconds nobody would ask from a new link-local address
	one, two = n.Host(t, lab.Config{}), n.Host(t, lab.Config{})
	giveAddr(t, "lab1", "198.18.1.9/24")
	giveAddr(t, "lab1", "2001:db8:1::9/64")
	giveAddr(t, "lab1", "2002:c000:201::9/64")
	giveAddr(t, "lab2", "2001:db8:2::9/64")
	lab1, lab2 := index(t, "lab1"), index(t, "lab2")
	for _, r := range []netlink.Route{
		{Dst: prefix("0.0.0.0/0"), Gw: one.IPv4.AsSlice()},
		{Dst: prefix("::/0"), Gw: one.IPv6.AsSlice(), LinkIndex: lab1},
		{Dst: prefix("203.0.113.0/24"), Gw: two.IPv4.AsSlice(), MTU: 1400},
		{Dst: prefix("198.51.100.0/24"), Gw: one.IPv4.AsSlice(), Src: addr("198.18.1.9").AsSlice()},
		{Dst: prefix("2001:db8:8000::/33"), Gw: two.IPv6.AsSlice()},
		{Dst: prefix("2001:db8:9000::/36"), Gw: addr("fe80::2").AsSlice(), LinkIndex: lab2},
		{Dst: prefix("192.0.2.0/24"), LinkIndex: lab2, Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: two.IPv6.AsSlice()}},
		{Dst: prefix("203.0.113.16/28"), Type: unix.RTN_UNREACHABLE},
		{Dst: prefix("203.0.113.32/28"), Type: unix.RTN_PROHIBIT},
		{Dst: prefix("203.0.113.48/28"), Type: unix.RTN_BLACKHOLE},
		{Dst: prefix("203.0.113.64/28"), Type: unix.RTN_THROW},
		{Dst: prefix("2001:db8:dead::/48"), Type: unix.RTN_UNREACHABLE},
		{Dst: prefix("2001:db8:dea1::/48"), Type: unix.RTN_PROHIBIT},
		{Dst: prefix("2001:db8:dea2::/48"), Type: unix.RTN_BLACKHOLE},
		{Dst: prefix("0.0.0.0/0"), Gw: two.IPv4.AsSlice(), Table: 100},
		{Dst: prefix("::/0"), Gw: two.IPv6.AsSlice(), Table: 100},
		{Dst: prefix("10.8.0.0/13"), Gw: one.IPv4.AsSlice(), Table: 100},
	} {
		addRoute(t, r)
	}
	for _, dst := range []string{"10.0.0.0/8", "2a00::/16"} {
		rule := netlink.NewRule()
		rule.Dst, rule.Table, rule.Priority = prefix(dst), 100, 1000
		rule.Family = netlink.FAMILY_V4
		if strings.Contains(dst, ":") {
			rule.Family = netlink.FAMILY_V6
		}
		must(t, netlink.RuleAdd(rule))
	}
	settle(t)
	return one, two
}

// settle waits until this machine's IPv6 addresses are its own, which the kernel sees to in its own time (addrconf_dad_work).
func settle(t testing.TB) {
	t.Helper()
	notYet := func(a netlink.Addr) bool {
		own, _ := netip.AddrFromSlice(a.IP)
		if own.IsLinkLocalUnicast() {
			own = own.WithZone(strconv.Itoa(a.LinkIndex))
		}
		return a.Flags&unix.IFA_F_TENTATIVE != 0 || !isOwn(own)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_V6)
		must(t, err)
		if !slices.ContainsFunc(addrs, notYet) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("there are addresses that never get usable")
		}
	}
}

// brief is what differs between the hops of town.
func brief(h *Hop) string {
	if h == nil {
		return ""
	}
	s := h.Name + " from " + h.Source.String()
	if h.Gateway.IsValid() {
		s += " via " + h.Gateway.String()
	}
	if h.Local {
		s += " local"
	}
	return s
}

// is reports whether h is as said, which may leave open from which of its link-local addresses.
func is(h *Hop, said string) bool {
	return brief(h) == said || strings.HasSuffix(said, "fe80::") && strings.HasPrefix(brief(h), said)
}

func TestTown(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	table := open(t, Config{})
	for a, want := range map[string]string{
		"198.18.1.2": "lab1 from 198.18.1.1", "198.18.2.2": "lab2 from 198.18.2.1",
		"fd00:1::2": "lab1 from fd00:1::1", "fd00:2::77": "lab2 from fd00:2::1",
		"8.8.8.8": "lab1 from 198.18.1.1 via 198.18.1.2", "::ffff:8.8.8.8": "lab1 from 198.18.1.1 via 198.18.1.2", "198.19.0.1": "lab1 from 198.18.1.1 via 198.18.1.2",
		"2600::1":     "lab1 from 2001:db8:1::9 via fd00:1::2", // RFC 6724, rule 6: its label is 1
		"fd77::1":     "lab1 from fd00:1::1 via fd00:1::2",     // label 5
		"2002::1":     "lab1 from 2002:c000:201::9 via fd00:1::2",
		"2001:db8::":  "lab1 from 2001:db8:1::9 via fd00:1::2",
		"203.0.113.1": "lab2 from 198.18.2.1 via 198.18.2.2", "203.0.113.255": "lab2 from 198.18.2.1 via 198.18.2.2",
		"198.51.100.1":    "lab1 from 198.18.1.9 via 198.18.1.2",
		"2001:db8:8000::": "lab2 from 2001:db8:2::9 via fd00:2::2", "2001:db8:9000::": "lab2 from 2001:db8:2::9 via fe80::2",
		"192.0.2.1": "lab2 from 198.18.2.1 via fd00:2::2",
		"10.0.0.1":  "lab2 from 198.18.2.1 via 198.18.2.2", "10.8.0.0": "lab1 from 198.18.1.1 via 198.18.1.2", "11.0.0.0": "lab1 from 198.18.1.1 via 198.18.1.2",
		"2a00::1": "lab2 from 2001:db8:2::9 via fd00:2::2", "2a01::1": "lab1 from 2001:db8:1::9 via fd00:1::2",
		"127.0.0.1": "lo from 127.0.0.1 local", "127.9.9.9": "lo from 127.0.0.1 local", "0.0.0.0": "lo from 127.0.0.1 local", "::1": "lo from ::1 local",
		"198.18.1.1": "lo from 198.18.1.1 local", "fd00:2::1": "lo from fd00:2::1 local", "fe80::1%lab2": "lo from fe80::1 local",
		"fe80::2%lab1": "lab1 from fe80::", "fe80::77%lab2": "lab2 from fe80::",
	} {
		h, err := table.Lookup(addr(a))
		if !is(h, want) || err != nil {
			t.Errorf("%s: %s, %v, want %s", a, brief(h), err, want)
		}
	}
	h, err := table.Lookup(addr("203.0.113.1"))
	must(t, err)
	link, err := netlink.LinkByName("lab2")
	must(t, err)
	if want := (Hop{index(t, "lab2"), "lab2", addr("198.18.2.1"), addr("198.18.2.2"), 1400, true, [6]byte(link.Attrs().HardwareAddr), false}); *h != want {
		t.Errorf("%+v, want %+v", *h, want)
	}
	if h, err = table.Lookup(addr("::1")); err != nil || h.Ethernet || h.Link != [6]byte{} || h.MTU != 65536 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestNoRoute(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	table := open(t, Config{})
	for a, want := range map[string]string{
		"203.0.113.17": "unreachable", "203.0.113.33": "prohibits", "203.0.113.49": "blackhole",
		"2001:db8:dead::1": "unreachable", "2001:db8:dea1::1": "prohibits", "2001:db8:dea2::1": "blackhole",
		"198.18.1.255": "broadcast", "255.255.255.255": "broadcast", "224.0.0.1": "multicast", "ff02::1%lab1": "multicast",
		"fe80::2%nowhere": "no such interface", "fe80::2%99": "unreachable",
	} {
		for range 2 { // asked, and remembered
			h, err := table.Lookup(addr(a))
			if h != nil || !errors.Is(err, ErrNoRoute) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), a) {
				t.Errorf("%s: %s, %v", a, brief(h), err)
			}
		}
	}
	if _, err := table.Lookup(netip.IPv6Unspecified()); err != nil {
		t.Error(err)
	}
	if h, err := table.Lookup(netip.Addr{}); h != nil || !errors.Is(err, ErrNoRoute) {
		t.Errorf("no address: %v, %v", h, err)
	}
}

// Without any route but to the links, and without links.
func TestNoWayOut(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	for _, hosts := range []int{0, 1} {
		if hosts == 1 {
			n.Host(t, lab.Config{})
		}
		table := open(t, Config{})
		for _, a := range []string{"8.8.8.8", "2600::1", "fe80:1::1", "198.19.0.1"} {
			if h, err := table.Lookup(addr(a)); h != nil || !errors.Is(err, ErrNoRoute) || !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("%d hosts, %s: %s, %v", hosts, a, brief(h), err)
			}
		}
		for a, from := range map[string]string{"127.0.0.1": "127.0.0.1", "::1": "::1"} {
			if h, err := table.Lookup(addr(a)); err != nil || !h.Local || h.Source != addr(from) {
				t.Errorf("%d hosts, %s: %s, %v", hosts, a, brief(h), err)
			}
		}
	}
}

func TestInterfaceAndSource(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	for _, test := range []struct {
		config  Config
		a, want string // "": no route
	}{
		{Config{Interface: "lab2"}, "203.0.113.1", "lab2 from 198.18.2.1 via 198.18.2.2"},
		{Config{Interface: "lab2"}, "198.18.2.2", "lab2 from 198.18.2.1"},
		{Config{Interface: "lab2"}, "8.8.8.8", "lab2 from 198.18.2.1"}, // the kernel's belief: whoever names the interface has it on the link
		{Config{Interface: "lab2"}, "fd00:1::2", ""},
		{Config{Interface: "lab2"}, "fd00:2::1", "lo from fd00:2::1 local"},
		{Config{Interface: "lab2"}, "fe80::2", "lab2 from fe80::"},
		{Config{Interface: "lab2"}, "fe80::2%lab2", "lab2 from fe80::"},
		{Config{Interface: "lab2"}, "fe80::2%lab1", ""},
		{Config{Interface: "lab2", Source6: addr("fd00:1::1")}, "fd00:2::2", "lab2 from fd00:1::1"},
		{Config{Interface: "lab2", Source6: addr("fd00:1::1")}, "fd00:1::2", ""},
		{Config{Source4: addr("198.18.1.9")}, "8.8.8.8", "lab1 from 198.18.1.9 via 198.18.1.2"},
		{Config{Source4: addr("198.18.1.9")}, "203.0.113.1", "lab2 from 198.18.1.9 via 198.18.2.2"},
		{Config{Source4: addr("198.18.1.9")}, "fd00:1::2", "lab1 from fd00:1::1"},
		{Config{Source4: addr("198.18.1.9")}, "127.0.0.1", "lo from 198.18.1.9 local"},
		{Config{Source6: addr("2002:c000:201::9")}, "fd77::1", "lab1 from 2002:c000:201::9 via fd00:1::2"},
	} {
		h, err := open(t, test.config).Lookup(addr(test.a))
		if !is(h, test.want) || (err == nil) == (test.want == "") || err != nil && !errors.Is(err, ErrNoRoute) {
			t.Errorf("%+v, %s: %s, %v", test.config, test.a, brief(h), err)
		}
	}
	for want, c := range map[string]Config{
		"nosuch": {Interface: "nosuch"}, "192.0.2.77": {Source4: addr("192.0.2.77")}, "2001:db8::77": {Source6: addr("2001:db8::77")}, "fe80::1%lab3": {Source6: addr("fe80::1%lab3")},
	} {
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), want) || want != "nosuch" && !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := Open(Config{Source6: addr("fe80::1%lab1")}); err != nil {
		t.Error(err)
	}
}

// A rule for a source decides only for those who have it.
func TestSourceRule(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	for _, src := range []string{"198.18.1.9/32", "2001:db8:1::9/128"} {
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority, rule.Family = prefix(src), 100, 900, netlink.FAMILY_V4
		if strings.Contains(src, ":") {
			rule.Family = netlink.FAMILY_V6
		}
		must(t, netlink.RuleAdd(rule))
	}
	table := open(t, Config{Source4: addr("198.18.1.9"), Source6: addr("2001:db8:1::9")})
	for a, want := range map[string]string{
		"8.8.8.8": "lab2 from 198.18.1.9 via 198.18.2.2", "2600::1": "lab2 from 2001:db8:1::9 via fd00:2::2", "10.8.0.1": "lab1 from 198.18.1.9 via 198.18.1.2",
	} {
		if h, err := table.Lookup(addr(a)); err != nil || brief(h) != want {
			t.Errorf("%s: %s, %v, want %s", a, brief(h), err, want)
		}
	}
}

// On a router the first address of each subnet is its own, too.
func TestRouter(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	n.Host(t, lab.Config{})
	set(t, "net/ipv6/conf/all/forwarding", "1")
	if h, err := open(t, Config{}).Lookup(addr("fd00:1::")); err != nil || !h.Local || h.Name != "lo" {
		t.Errorf("%s, %v", brief(h), err)
	}
}

// A route that wraps its packets is not one that frames can take.
func TestWrappingRoute(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	n.Host(t, lab.Config{})
	wrap := &netlink.SEG6Encap{Mode: nl.SEG6_IPTUN_MODE_ENCAP, Segments: []net.IP{addr("fd00:1::2").AsSlice()}}
	r := netlink.Route{Dst: prefix("2001:db8::/32"), LinkIndex: index(t, "lab1"), Encap: wrap}
	if err := netlink.RouteAdd(&r); err != nil {
		t.Skipf("this kernel has no segment routing: %v", err)
	}
	if h, err := open(t, Config{}).Lookup(addr("2001:db8::1")); err != nil || h.Ethernet || h.Name != "lab1" {
		t.Errorf("%+v, %v", h, err)
	}
}

// A device without link addresses, one that has no address of its own, and one without any that could do.
func TestTun(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun7"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
	must(t, netlink.LinkAdd(tun))
	defer func() { _ = tun.Fds[0].Close() }()
	must(t, netlink.LinkSetUp(tun))
	addRoute(t, netlink.Route{Dst: prefix("203.0.113.0/24"), LinkIndex: index(t, "tun7")})
	if h, err := open(t, Config{}).Lookup(addr("203.0.113.1")); !errors.Is(err, ErrNoRoute) || !strings.Contains(err.Error(), "tun7") {
		t.Errorf("without an address: %s, %v", brief(h), err)
	}
	giveAddr(t, "tun7", "192.0.2.1/24")
	giveAddr(t, "tun7", "2001:db8::1/64")
	table := open(t, Config{})
	for _, a := range []string{"203.0.113.1", "192.0.2.2", "2001:db8::2"} {
		h, err := table.Lookup(addr(a))
		if err != nil || h.Name != "tun7" || h.Ethernet || h.Link != [6]byte{} || h.Gateway.IsValid() || h.MTU != 1500 {
			t.Fatalf("%s: %+v, %v", a, h, err)
		}
		if _, ok := table.Neighbor(h, addr(a)); ok {
			t.Error("a neighbour without a link address")
		}
		if _, err := table.Resolve(t.Context(), h, addr(a)); !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
	}
}

func TestConcurrentLookups(t *testing.T) {
	if one, _ := town(t); one == nil {
		return
	}
	table := open(t, Config{})
	addrs := []netip.Addr{}
	for _, k := range table.starts {
		addrs = append(addrs, addrOf(k), addrOf(k).WithZone("lab1"), addrOf(k).WithZone("lab2"))
	}
	all := make([][]*Hop, 4)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			for _, a := range addrs {
				h, _ := table.Lookup(a)
				all[i] = append(all[i], h)
			}
		})
	}
	wg.Wait()
	for i := range addrs {
		for _, hops := range all {
			if hops[i] != all[0][i] {
				t.Fatalf("%v: %p and %p", addrs[i], hops[i], all[0][i])
			}
		}
	}
}
