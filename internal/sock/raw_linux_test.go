package sock

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
)

// Whom a SYN reaches answers, over Ethernet and over loopback; each answer is heard once, whoever sends it; and the kernel, which knows of
// no connection, takes the open one back.
func TestRawSYN(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Port(80)}},
		Rules:  []lab.Rule{{Ports: lab.Port(80), Flags: lab.RST}},
	})
	accept := listenHere(t)
	ports := holdPorts(t, 3)
	r := openRaw(t, RawConfig{First: ports.First(), Last: ports.First() + 1})
	heard := listenTo(t, r)
	near := map[bool]netip.Addr{true: netip.MustParseAddr("198.18.1.1"), false: netip.MustParseAddr("fd00:1::1")}
	var batch [][]byte
	want := map[answer]int{}
	began := time.Now()
	for i, to := range []netip.AddrPort{
		netip.AddrPortFrom(host.IPv4, 80), netip.AddrPortFrom(host.IPv6, 80), netip.AddrPortFrom(host.IPv4, 81), netip.AddrPortFrom(host.IPv6, 81),
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), accept), netip.AddrPortFrom(netip.IPv6Loopback(), accept),
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 1), netip.AddrPortFrom(netip.IPv6Loopback(), 1),
	} {
		from := near[to.Addr().Is4()]
		if to.Addr().IsLoopback() {
			from = to.Addr()
		}
		kind := "SA"
		if to.Port() < 80 || to.Port() == 81 {
			kind = "R"
		}
		for p := range uint16(3) { // the third is not asked for
			src := netip.AddrPortFrom(from, ports.First()+p)
			batch = append(batch, tcpPacket(src, to, "S", uint32(1000*i)+uint32(p)))
			if p < 2 {
				want[answer{to, src, kind, uint32(1000*i) + uint32(p) + 1, 64}]++
			}
		}
	}
	sendAllOf(t, r, batch...)
	heard.wait(len(want))
	got := map[answer]int{}
	for _, p := range heard.rest() {
		a, _ := decode(p)
		got[a]++
	}
	for a, k := range want {
		if got[a] != k {
			t.Errorf("%+v: %d times", a, got[a])
		}
		delete(got, a)
	}
	for a := range got {
		t.Errorf("heard %+v", a)
	}
	for _, at := range heard.at {
		if at.Before(began.Add(-time.Millisecond)) || at.After(time.Now()) {
			t.Errorf("heard at %v", at)
		}
	}
	if hits := host.Hits(t); hits[0] != 6 {
		t.Errorf("%d resets of ours, want one for each of the SYN-ACKs", hits[0])
	}
	if lost := r.Lost(); lost != 0 {
		t.Errorf("%d lost", lost)
	}
}

// dropInput is a firewall that lets nothing in.
func dropInput(t *testing.T) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "closed"})
	for name, hook := range map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "prerouting": nftables.ChainHookPrerouting} {
		conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRaw, Policy: &drop})
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A firewall of our own keeps nothing from us, and lets no reset go out.
func TestRawBehindFirewall(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Port(80)}},
		Rules:  []lab.Rule{{Ports: lab.Port(80), Flags: lab.RST}, {Ports: lab.Port(81), Do: lab.AdminProhibited}},
	})
	ports := holdPorts(t, 1)
	sources := map[bool]netip.AddrPort{
		true: netip.AddrPortFrom(netip.MustParseAddr("198.18.1.1"), ports.First()), false: netip.AddrPortFrom(netip.MustParseAddr("fd00:1::1"), ports.First()),
	}
	r := openRaw(t, RawConfig{Interface: "lab1", First: ports.First(), Last: ports.Last()})
	heard := listenTo(t, r)
	for _, a := range []netip.Addr{host.IPv4, host.IPv6} { // whose link addresses have to be found out before it is laid
		sendAllOf(t, r, tcpPacket(sources[a.Is4()], netip.AddrPortFrom(a, 82), "S", 0))
	}
	heard.wait(2)
	dropInput(t)
	before := host.Hits(t)[0]
	var batch [][]byte
	for _, a := range []netip.Addr{host.IPv4, host.IPv6} {
		for _, port := range []uint16{80, 81} {
			batch = append(batch, tcpPacket(sources[a.Is4()], netip.AddrPortFrom(a, port), "S", 7))
		}
	}
	sendAllOf(t, r, batch...)
	kinds := map[string]int{}
	for _, packet := range heard.wait(6)[2:] {
		a, p := decode(packet)
		kinds[a.kind]++
		if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && (icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 13) || !bytes.Contains(packet, batch[1][12:28])) {
			t.Errorf("%v %x", icmp.TypeCode, packet)
		}
		if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && (icmp.TypeCode != layers.CreateICMPv6TypeCode(1, 1) || !bytes.Contains(packet, batch[3])) {
			t.Errorf("%v %x", icmp.TypeCode, packet)
		}
	}
	if kinds["SA"] != 2 || kinds["other"] != 2 || len(kinds) != 2 {
		t.Errorf("heard %v", kinds)
	}
	if after := host.Hits(t)[0]; after != before {
		t.Errorf("%d resets went out", after-before)
	}
}

// One interface is heard and sent by, if one is given.
func TestRawInterface(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	one, two := n.Host(t, lab.Config{}), n.Host(t, lab.Config{})
	ports := holdPorts(t, 1)
	both := openRaw(t, RawConfig{First: ports.First(), Last: ports.Last()})
	only := openRaw(t, RawConfig{Interface: "lab2", First: ports.First(), Last: ports.Last()})
	all, some := listenTo(t, both), listenTo(t, only)
	from := netip.AddrPortFrom(netip.MustParseAddr("198.18.1.1"), ports.First())
	sendAllOf(t, both, tcpPacket(from, netip.AddrPortFrom(one.IPv4, 1), "S", 1), tcpPacket(from, netip.AddrPortFrom(two.IPv4, 1), "S", 1))
	from6 := netip.AddrPortFrom(netip.MustParseAddr("fd00:1::1"), ports.First())
	if n, err := only.Send([][]byte{tcpPacket(from6, netip.AddrPortFrom(one.IPv6, 1), "S", 1)}); n != 0 || !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("by the other interface: %d, %v", n, err)
	}
	if got := all.wait(2); len(got) != 2 {
		t.Errorf("both heard %d", len(got))
	}
	if got := some.rest(); len(got) != 1 || string(got[0][12:16]) != string(two.IPv4.AsSlice()) {
		t.Errorf("one heard %x", got)
	}
	for name, want := range map[string]error{"nosuch": nil, "lab1": unix.ENETDOWN} {
		if want != nil {
			link, err := netlink.LinkByName(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.LinkSetDown(link); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := OpenRaw(RawConfig{Interface: name}); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// A receiver is told when its interface goes down, and hears again when that is up.
func TestRawInterfaceDown(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{})
	link, err := netlink.LinkByName("lab1")
	if err != nil {
		t.Fatal(err)
	}
	ports := holdPorts(t, 1)
	r := openRaw(t, RawConfig{Interface: "lab1", First: ports.First(), Last: ports.Last()})
	ended := make(chan error)
	go func() { ended <- r.Receive(func([]byte, int, time.Time) {}) }()
	time.Sleep(20 * time.Millisecond)
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, unix.ENETDOWN) {
		t.Error(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	heard := listenTo(t, r)
	syn := tcpPacket(netip.AddrPortFrom(netip.MustParseAddr("198.18.1.1"), ports.First()), netip.AddrPortFrom(host.IPv4, 1), "S", 1)
	for range 100 { // until the link carries packets
		sendAllOf(t, r, syn)
		if time.Sleep(2 * RawLag); len(heard.wait(0)) > 0 {
			return
		}
	}
	t.Error("nothing is heard")
}

// Link-local addresses are the same on each link: the interface says whose is meant.
func TestRawLinkLocal(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	hosts := []*lab.Host{n.Host(t, lab.Config{Rules: []lab.Rule{{}}}), n.Host(t, lab.Config{Rules: []lab.Rule{{}}})}
	ports := holdPorts(t, 2)
	r := openRaw(t, RawConfig{First: ports.First(), Last: ports.Last()})
	heard := listenTo(t, r)
	to := netip.MustParseAddrPort("[fe80::2]:1")
	from := netip.AddrPortFrom(netip.MustParseAddr("fe80::1"), ports.First())
	for i, name := range []string{"lab1", "lab2"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		syn := tcpPacket(from, to, "S", 1)
		if n, err := r.SendOn(link.Attrs().Index, [][]byte{syn, syn}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if got := heard.wait(2 * (i + 1)); len(got) != 2*(i+1) {
			t.Errorf("%s: %d answers", name, len(got))
		}
	}
	bound := openRaw(t, RawConfig{Interface: "lab2", First: ports.Last(), Last: ports.Last()})
	other := listenTo(t, bound)
	sendAllOf(t, bound, tcpPacket(netip.AddrPortFrom(from.Addr(), ports.Last()), to, "S", 1))
	if got := other.wait(1); len(got) != 1 {
		t.Errorf("bound to lab2: %d answers", len(got))
	}
	if one, two := hosts[0].Hits(t)[0], hosts[1].Hits(t)[0]; one != 2 || two != 3 {
		t.Errorf("%d and %d packets arrived", one, two)
	}
}

// A rule for a source has its way when the socket has the source, though it is in every header anyway.
func TestRawSourceRule(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	prefixes := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:7::/48")}
	hosts := []*lab.Host{n.Host(t, lab.Config{Rules: []lab.Rule{{}}, Local: prefixes}), n.Host(t, lab.Config{Rules: []lab.Rule{{}}, Local: prefixes})}
	sources := []netip.Addr{netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("fd00:1::1")}
	for i, way := range [][2]string{{"198.18.1.1/32", "198.18.1.2"}, {"fd00:1::1/128", "fd00:1::2"}} {
		src, err := netlink.ParseIPNet(way[0])
		if err != nil {
			t.Fatal(err)
		}
		dst, err := netlink.ParseIPNet(prefixes[i].String())
		if err != nil {
			t.Fatal(err)
		}
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority, rule.Family = src, 100, 100, []int{netlink.FAMILY_V4, netlink.FAMILY_V6}[i]
		route := netlink.Route{Dst: dst, Gw: netip.MustParseAddr(way[1]).AsSlice(), Table: 100}
		if err := errors.Join(netlink.RuleAdd(rule), netlink.RouteAdd(&route)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []RawConfig{{}, {Source4: sources[0], Source6: sources[1]}} {
		r := openRaw(t, c)
		for i, p := range prefixes {
			sendAllOf(t, r, tcpPacket(netip.AddrPortFrom(sources[i], 50000), netip.AddrPortFrom(p.Addr().Next(), 1), "S", 1))
		}
	}
	arrived := func() [2]uint64 { return [2]uint64{hosts[0].Hits(t)[0], hosts[1].Hits(t)[0]} }
	for deadline := time.Now().Add(5 * time.Second); arrived() != [2]uint64{2, 2} && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := arrived(); got != [2]uint64{2, 2} {
		t.Errorf("arrived %v", got)
	}
	if r, err := OpenRaw(RawConfig{Source6: netip.MustParseAddr("2001:db8::77")}); !IsNoAddress(err) {
		t.Errorf("%v, %v", r, err)
	}
}

func TestRawDenied(t *testing.T) {
	denied := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread, without its capabilities, ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			denied <- err
			return
		}
		_, err := OpenRaw(RawConfig{})
		denied <- err
	}()
	if err := <-denied; !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v", err)
	}
}

func TestRawRefuses(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	for _, c := range []RawConfig{{First: 2, Last: 1}, {Interface: "nosuch"}, {Source4: netip.MustParseAddr("192.0.2.1")}} {
		if _, err := OpenRaw(c); err == nil {
			t.Errorf("%+v is no problem", c)
		}
	}
}
