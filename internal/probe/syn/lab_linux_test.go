package syn_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sonde/internal/lab"
	"sonde/internal/packet"
	"sonde/internal/probe"
	"sonde/internal/probe/stateless"
	"sonde/internal/probe/syn"
	"sonde/internal/route"
	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
	"sonde/internal/xdp"
)

// A rig is a wire with all that it stands on.
type rig struct {
	stateless.Wire
	codec *syn.Codec
	held  []io.Closer
}

// close takes the engine off its interfaces, for the next.
func (r *rig) close() {
	for len(r.held) > 0 {
		last := len(r.held) - 1
		_ = r.held[last].Close()
		r.held = r.held[:last]
	}
}

// engines are the names of the two wires.
var engines = []string{"raw", "xdp"}

// open opens a wire to addresses, and closes it when t ends.
func open(t testing.TB, engine string, to ...netip.Addr) *rig {
	t.Helper()
	r, err := tryOpen(t, engine, to...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryOpen(t testing.TB, engine string, to ...netip.Addr) (*rig, error) {
	t.Helper()
	r := &rig{}
	t.Cleanup(r.close)
	table, err := route.Open(route.Config{})
	if err != nil {
		return nil, err
	}
	ports, err := sock.HoldPorts(16, 0)
	if err != nil {
		return nil, err
	}
	r.held = append(r.held, ports)
	if r.codec, err = syn.NewCodec(ports.First(), 16); err != nil {
		return nil, err
	}
	conn, err := sock.OpenRaw(sock.RawConfig{First: ports.First(), Last: ports.Last()})
	if err != nil {
		return nil, err
	}
	r.held = append(r.held, conn)
	raw, err := syn.NewRaw(r.codec, table, conn, nil)
	if err != nil || engine == "raw" {
		r.Wire = raw
		return r, err
	}
	e, err := xdp.Open(xdp.Config{Key: r.codec.Key, FirstPort: ports.First(), Ports: 16})
	if err != nil {
		return nil, err
	}
	r.held = append(r.held, e)
	wire := syn.NewXDP(raw, e)
	r.Wire = wire
	for _, a := range to {
		if _, err := wire.Prepare(t.Context(), a); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// answers are what a scan heard, and how often there was news of a target.
type answers struct {
	of   map[probe.Target]probe.Result
	news int
}

func (a *answers) Put(results []probe.Result) error {
	for _, r := range results {
		a.of[r.Target] = r
		a.news++
	}
	return nil
}

// count counts the targets in a state.
func (a *answers) count(s probe.State) (n int) {
	for _, r := range a.of {
		if r.State == s {
			n++
		}
	}
	return n
}

// A job is a scan: of ports of all addresses from the first to the last of each pair.
type job struct {
	wire     stateless.Wire
	ports    string
	attempts uint8
	timeout  time.Duration // 0: a second
	spaces   [][2]netip.Addr
}

func one(a netip.Addr) [2]netip.Addr { return [2]netip.Addr{a, a} }

func (j job) run(ctx context.Context, t testing.TB) (*answers, scan.Summary, error) {
	t.Helper()
	ports, err := target.ParsePorts(j.ports, probe.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b target.Builder
	for _, s := range j.spaces {
		b.Add(s[0], s[1], ports)
	}
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := scan.NewPlan(space, rand.Uint64())
	plan.Attempts, plan.Timeout = max(1, j.attempts), time.Second
	if j.timeout > 0 {
		plan.Timeout = j.timeout
	}
	heard := &answers{of: map[probe.Target]probe.Result{}}
	s, err := scan.Run(ctx, scan.Job{Plan: plan, Span: plan.Whole(), Prober: &stateless.Prober{Wire: j.wire}, Sink: heard})
	return heard, s, err
}

// must is run where nothing may fail.
func (j job) must(t testing.TB) (*answers, scan.Summary) {
	t.Helper()
	a, s, err := j.run(t.Context(), t)
	if err != nil {
		t.Fatal(err)
	}
	return a, s
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
	{1001, lab.Reset, probe.Reset, probe.ICMP{}, probe.ICMP{}},
	{1002, lab.PortUnreach, probe.PortUnreach, probe.ICMP{Type: 3, Code: 3}, probe.ICMP{Type: 1, Code: 4}},
	{1003, lab.HostUnreach, probe.HostUnreach, probe.ICMP{Type: 3, Code: 1}, probe.ICMP{Type: 1, Code: 3}},
	{1004, lab.NetUnreach, probe.NetUnreach, probe.ICMP{Type: 3, Code: 0}, probe.ICMP{Type: 1, Code: 0}},
	{1005, lab.AdminProhibited, probe.AdminProhibited, probe.ICMP{Type: 3, Code: 13}, probe.ICMP{Type: 1, Code: 1}},
}

func kindRules() (rules []lab.Rule) {
	for _, k := range kinds {
		rules = append(rules, lab.Rule{Ports: lab.Port(k.port), Do: k.do})
	}
	return rules
}

// The verdicts, each with its evidence, by both engines and for both families: said by the host itself, and by a router
// on the way; on a link of the usual size and on a jumbo one.
func TestVerdicts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	listen := []lab.Listener{{Ports: lab.Port(80)}}
	host := net.Host(t, lab.Config{GRO: true, Listen: listen, Rules: kindRules(), Sysctls: lab.NoICMPLimits()})
	jumbo := net.Host(t, lab.Config{GRO: true, MTU: 9000, Listen: listen, Rules: kindRules(), Sysctls: lab.NoICMPLimits()})
	router := net.Host(t, lab.Config{GRO: true, Rules: kindRules(), Sysctls: lab.NoICMPLimits()})
	behind := router.Behind(t, lab.Config{Listen: listen})
	for _, engine := range engines {
		for name, c := range map[string]struct{ of, from *lab.Host }{"a host": {host, host}, "a host on a jumbo link": {jumbo, jumbo}, "a router": {behind, router}} {
			for _, v6 := range []bool{false, true} {
				addr, from := c.of.IPv4, c.from.IPv4
				if v6 {
					addr, from = c.of.IPv6, c.from.IPv6
				}
				if c.of == c.from {
					from = netip.Addr{}
				}
				r := open(t, engine, addr)
				heard, s := job{wire: r, ports: "80,81,1000-1005", attempts: 2, timeout: 200 * time.Millisecond, spaces: [][2]netip.Addr{one(addr)}}.must(t)
				label := engine + ", " + name + ", " + addr.String()
				if s.Undecided != 0 || s.Unanswered != 1 || s.Open != 1 || s.Closed != 2 || s.Filtered != 5 {
					t.Errorf("%s: %+v", label, s)
				}
				checkVerdicts(t, label, heard, addr, from)
				r.close()
			}
		}
	}
}

func checkVerdicts(t *testing.T, label string, heard *answers, addr, from netip.Addr) {
	t.Helper()
	at := func(port uint16) probe.Result {
		return heard.of[probe.Target{AddrPort: netip.AddrPortFrom(addr, port)}]
	}
	if r := at(80); r.State != probe.Open || r.Reason != probe.SynAck || r.RTT <= 0 || r.RTT > 2*time.Second || r.TTL == 0 || r.Attempt != 1 || r.Method != probe.SYN {
		t.Errorf("%s: port 80: %+v", label, r)
	}
	if r := at(81); r.State != probe.Closed || r.Reason != probe.Reset || r.From.IsValid() {
		t.Errorf("%s: port 81: %+v", label, r)
	}
	for _, k := range kinds[1:] {
		icmp, r := k.icmp4, at(k.port)
		if addr.Is6() {
			icmp = k.icmp6
		}
		state, who := probe.Filtered, from
		if k.reason == probe.Reset {
			state, who = probe.Closed, netip.Addr{}
		}
		if r.State != state || r.Reason != k.reason || r.ICMP != icmp || r.From != who {
			t.Errorf("%s: port %d: %+v", label, k.port, r)
		}
	}
}

// Answers that come late and twice count once, and the right way.
func TestLateAndDoubled(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{GRO: true, Listen: []lab.Listener{{Ports: lab.Range(100, 149)}}, Delay: 150 * time.Millisecond, Double: true})
	for _, engine := range engines {
		for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
			// Each pass is over before the answers to it come: they count when they do.
			rig := open(t, engine, addr)
			heard, s := job{wire: rig, ports: "100-199", attempts: 4, timeout: 100 * time.Millisecond, spaces: [][2]netip.Addr{one(addr)}}.must(t)
			if s.Open != 50 || s.Closed != 50 || heard.news != 100 {
				t.Errorf("%s, %v: %+v, %d times news", engine, addr, s, heard.news)
			}
			r := heard.of[probe.Target{AddrPort: netip.AddrPortFrom(addr, 100)}]
			if r.RTT < 150*time.Millisecond || r.Attempt != 1 {
				t.Errorf("%s, %v: %+v; its time is known, though it is late", engine, addr, r)
			}
			rig.close()
		}
	}
}

// Every connection that opens is closed by a reset, be it the kernel's or the engine's, and no other packet is sent.
func TestResets(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	for _, engine := range engines {
		host := net.Host(t, lab.Config{GRO: true, Listen: []lab.Listener{{Ports: lab.Range(1, 100)}}, Rules: []lab.Rule{
			{Do: lab.Count, Flags: lab.RST}, {Do: lab.Count, Flags: lab.SYN}, {Do: lab.Count},
		}})
		for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
			r := open(t, engine, addr)
			_, s := job{wire: r, ports: "1-200", spaces: [][2]netip.Addr{one(addr)}}.must(t)
			r.close()
			if s.Open != 100 || s.Closed != 100 {
				t.Errorf("%s, %v: %+v", engine, addr, s)
			}
		}
		if hits := host.Hits(t); !slices.Equal(hits, []uint64{200, 400, 600}) {
			t.Errorf("%s: the host got %d resets, %d SYNs, %d segments in all", engine, hits[0], hits[1], hits[2])
		}
	}
}

// What is open is found, all of it, and nothing else is, as fast as it goes.
func TestNothingMissed(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	for _, engine := range engines {
		host := net.Host(t, lab.Config{Wire: lab.Answerer, Local: []netip.Prefix{wide}})
		r := open(t, engine, wideLast)
		heard, s := job{wire: r, ports: "1-16", spaces: [][2]netip.Addr{{wide.Addr(), wideLast}}}.must(t)
		checkTruth(t, engine, heard, s)
		tally, dropped := host.Tally(t), dropped(t)
		if tally.Broken != 0 || tally.Resets > tally.Open || tally.Open-tally.Resets > dropped {
			t.Errorf("%s: %+v, the links dropped %d", engine, tally, dropped)
		}
	}
}

// dropped is how many packets the links had no room for: a busy machine empties their queues late. A probe that gets lost is
// sent again, a reset is not: its peer asks for it by its next SYN-ACK.
func dropped(t testing.TB) (n uint64) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		s := l.Attrs().Statistics
		n += s.TxDropped + s.RxDropped
	}
	return n
}

// 4,096 addresses of a network.
var (
	wide     = netip.MustParsePrefix("10.77.0.0/16")
	wideLast = netip.MustParseAddr("10.77.15.255")
)

// Forged SYN-ACKs, a million a second: none is believed. (The link drops packets then, as any would; what a probe is lost of
// is not looked at.)
func TestFlood(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	for _, engine := range engines {
		host := net.Host(t, lab.Config{Wire: lab.Answerer, GRO: true, Local: []netip.Prefix{wide}})
		r := open(t, engine, wideLast)
		wait := host.Flood(t, lab.Flood{From: wide, Ports: lab.Range(1, 16), To: lab.Range(r.codec.FirstPort, r.codec.FirstPort+15), PerSecond: 1_000_000, Count: 1_000_000})
		heard, s := job{wire: r, ports: "1-16", attempts: 2, spaces: [][2]netip.Addr{{wide.Addr(), wideLast}}}.must(t)
		wait()
		for target, r := range heard.of {
			if truth := lab.Truth(target.AddrPort); r.State == probe.Open && truth != probe.Open {
				t.Fatalf("%s: %v is %v, and found open", engine, target.AddrPort, truth)
			}
		}
		if n := r.codec.Strangers(); n < 1000 || s.Open == 0 {
			t.Errorf("%s: %d forged answers came, %d ports are open: the test shows nothing", engine, n, s.Open)
		}
		r.close()
	}
}

func checkTruth(t *testing.T, engine string, heard *answers, s scan.Summary) {
	t.Helper()
	want := map[probe.State]int{}
	for host := range 4096 {
		for port := uint16(1); port <= 16; port++ {
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(host >> 8), byte(host)}), port)
			truth := lab.Truth(a)
			want[truth]++
			if got := heard.of[probe.Target{AddrPort: a}].State; truth != probe.Filtered && got != truth || truth == probe.Filtered && got == probe.Open {
				t.Fatalf("%s: %v is %v, found %v; summary %+v", engine, a, truth, got, s)
			}
		}
	}
	if heard.count(probe.Open) != want[probe.Open] || heard.count(probe.Closed) != want[probe.Closed] || s.Undecided != 0 {
		t.Errorf("%s: %d open and %d closed, want %v; summary %+v", engine, heard.count(probe.Open), heard.count(probe.Closed), want, s)
	}
}

// Two scans at once do not disturb each other: with raw sockets both run; a second XDP engine on an interface is refused, and
// what it asked for is said.
func TestTwoAtOnce(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{GRO: true, Listen: []lab.Listener{{Ports: lab.Range(1, 500)}}})
	first, second := open(t, "xdp", host.IPv4), open(t, "raw")
	if _, err := tryOpen(t, "xdp", host.IPv4); !errors.Is(err, xdp.ErrTaken) {
		t.Errorf("a second engine on the interface: %v, want %v", err, xdp.ErrTaken)
	}
	results := make(chan scan.Summary, 2)
	for _, r := range []*rig{first, second} {
		go func() {
			_, s, err := job{wire: r, ports: "1-1000", spaces: [][2]netip.Addr{one(host.IPv4)}}.run(t.Context(), t)
			if err != nil {
				t.Error(err)
			}
			results <- s
		}()
	}
	for range 2 {
		if s := <-results; s.Open != 500 || s.Closed != 500 {
			t.Errorf("%+v", s)
		}
	}
}

// A veth whose peer takes no redirected frames is found out before anything is sent.
func TestSwallowedFrames(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{})
	if _, err := tryOpen(t, "xdp", host.IPv4); !errors.Is(err, xdp.ErrSwallows) {
		t.Errorf("%v, want %v", err, xdp.ErrSwallows)
	}
	link, err := netlink.LinkByName("lab1")
	if err != nil {
		t.Fatal(err)
	}
	if x := link.Attrs().Xdp; x != nil && x.Attached {
		t.Error("the program is still attached")
	}
}

// An interface that goes down ends the scan with an error: silence means nothing then.
func TestInterfaceGoesDown(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	for _, engine := range engines {
		host := net.Host(t, lab.Config{Wire: lab.Sink, Local: []netip.Prefix{wide}})
		r := open(t, engine, host.IPv4)
		hop := way(t, host.IPv4)
		time.AfterFunc(300*time.Millisecond, func() {
			if link, err := netlink.LinkByIndex(hop.Interface); err == nil {
				_ = netlink.LinkSetDown(link)
			}
		})
		_, s, err := job{wire: r, ports: "1-1000", attempts: 4, spaces: [][2]netip.Addr{{wide.Addr(), netip.MustParseAddr("10.77.255.255")}}}.run(t.Context(), t)
		if err == nil || s.Complete || s.Filtered != 0 {
			t.Errorf("%s: %v, %+v", engine, err, s)
		}
	}
}

// way returns the way to an address.
func way(t testing.TB, a netip.Addr) *route.Hop {
	t.Helper()
	table, err := route.Open(route.Config{})
	if err != nil {
		t.Fatal(err)
	}
	hop, err := table.Lookup(a)
	if err != nil {
		t.Fatal(err)
	}
	return hop
}

// This machine itself: its own probes, and the kernel's own answers on loopback, are told apart from what listens.
func TestLoopback(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	for _, text := range []string{"127.0.0.1", "::1"} {
		addr := netip.MustParseAddr(text)
		listener := listen(t, addr)
		heard, s := job{wire: open(t, "raw"), ports: "1-65535", attempts: 2, spaces: [][2]netip.Addr{one(addr)}}.must(t)
		if s.Open != 1 || s.Closed != 65534 || heard.of[probe.Target{AddrPort: listener}].State != probe.Open {
			t.Errorf("%v: %+v", addr, s)
		}
	}
}

// A link-local target is known by its zone, in what is sent and in what is heard.
func TestLinkLocal(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	listen := []lab.Listener{{Ports: lab.Port(80)}}
	one1, two := net.Host(t, lab.Config{GRO: true, Listen: listen}), net.Host(t, lab.Config{GRO: true, Listen: listen})
	for _, engine := range engines {
		r := open(t, engine, one1.IPv4, two.IPv4)
		first, second := netip.MustParseAddr("fe80::2%lab1"), netip.MustParseAddr("fe80::2%lab2")
		heard, s := job{wire: r, ports: "80,81", spaces: [][2]netip.Addr{one(first), one(second)}}.must(t)
		for _, a := range []netip.Addr{first, second} {
			open, closed := heard.of[probe.Target{AddrPort: netip.AddrPortFrom(a, 80)}], heard.of[probe.Target{AddrPort: netip.AddrPortFrom(a, 81)}]
			if open.State != probe.Open || closed.State != probe.Closed {
				t.Errorf("%s, %v: %+v and %+v; summary %+v", engine, a, open, closed, s)
			}
		}
		r.close()
	}
}

// What a rule of this machine refuses to send says nothing of the target, and what it drops on the way in is heard all the same.
func TestOwnFirewall(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{GRO: true, Listen: []lab.Listener{{Ports: lab.Range(1, 10)}}})
	for _, engine := range engines {
		net.Filter(t, lab.Rule{Ports: lab.Range(1, 5), Do: lab.Drop}, lab.Rule{Ports: lab.Range(6, 8), Do: lab.AdminProhibited}, lab.Rule{Way: lab.Out, Do: lab.Drop})
		r := open(t, engine, host.IPv4)
		_, s := job{wire: r, ports: "1-20", attempts: 2, timeout: 200 * time.Millisecond, spaces: [][2]netip.Addr{one(host.IPv4)}}.must(t)
		want := [3]uint64{2, 10, 8} // 9 and 10 are open; 1 to 8 were not sent
		if engine == "xdp" {        // no rule sees what the engine sends
			want = [3]uint64{10, 10, 0}
		}
		if got := [3]uint64{s.Open, s.Closed, s.Undecided}; got != want || s.Filtered != 0 || (s.LocalErr == nil) != (engine == "xdp") {
			t.Errorf("%s: open, closed and undecided are %v, want %v; %+v", engine, got, want, s)
		}
		r.close()
	}
}

// A machine without IPv6 scans by IPv4.
func TestWithoutIPv6(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{GRO: true, Listen: []lab.Listener{{Ports: lab.Port(80)}}})
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for _, engine := range engines {
		r := open(t, engine, host.IPv4)
		if _, s := (job{wire: r, ports: "80,81", spaces: [][2]netip.Addr{one(host.IPv4)}}).must(t); s.Open != 1 || s.Closed != 1 {
			t.Errorf("%s: %+v", engine, s)
		}
		r.close()
	}
	r := open(t, "raw")
	if _, s := (job{wire: r, ports: "80", attempts: 2, spaces: [][2]netip.Addr{one(host.IPv6)}}).must(t); s.Undecided != 1 || s.LocalErr == nil {
		t.Errorf("by IPv6: %+v", s)
	}
}

// A tun has no Ethernet: raw sockets do, and XDP says that it does not.
func TestTun(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_ONE_QUEUE, Queues: 1, NonPersist: true}
	if err := netlink.LinkAdd(tun); err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr("198.18.200.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.AddrAdd(tun, addr), netlink.LinkSetUp(tun)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serveTun(tun.Fds[0])
	}()
	to := netip.MustParseAddr("198.18.200.2")
	if _, err := tryOpen(t, "xdp", to); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("XDP on a tun: %v", err)
	}
	heard, s := job{wire: open(t, "raw"), ports: "1-100", attempts: 2, spaces: [][2]netip.Addr{one(to)}}.must(t)
	if s.Open != 50 || s.Closed != 50 {
		t.Errorf("%+v", s)
	}
	if r := heard.of[probe.Target{AddrPort: netip.AddrPortFrom(to, 2)}]; r.State != probe.Open || r.TTL != 61 || r.RTT <= 0 {
		t.Errorf("%+v", r)
	}
	_ = tun.Fds[0].Close()
	<-ended
}

// serveTun answers SYNs at the other end of a tun: even ports are open.
func serveTun(f *os.File) {
	b := make([]byte, 2048)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		var d packet.Datagram
		if !packet.Parse(b[:n], &d) || d.Flags != packet.FlagSYN {
			continue
		}
		a := packet.Segment{Src: d.Dst, Dst: d.Src, TTL: 61, Ack: d.Seq + 1, Flags: packet.FlagRST | packet.FlagACK}
		if d.Dst.Port()%2 == 0 {
			a.Flags, a.Options = packet.FlagSYN|packet.FlagACK, packet.Options{Timestamps: true, TSVal: 1, TSEcr: d.Options.TSVal}
		}
		if _, err := f.Write(a.Append(nil)); err != nil {
			return
		}
	}
}

// Controls go with a SYN scan as with any: a host that refuses each time is not taken for one that limits its refusals, and one that does is.
func TestControls(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	drop := lab.Rule{Ports: lab.Range(100, 139), Do: lab.Drop}
	for _, engine := range engines {
		plain := net.Host(t, lab.Config{GRO: true, Rules: []lab.Rule{drop}})
		limited := net.Host(t, lab.Config{GRO: true, Rules: []lab.Rule{drop, {Ports: lab.Range(1, 99), Do: lab.AdminProhibited}}})
		for host, want := range map[*lab.Host]uint64{plain: 0, limited: 1} {
			r := open(t, engine, host.IPv4)
			_, s := job{wire: r, ports: "1-139", attempts: 3, timeout: 200 * time.Millisecond, spaces: [][2]netip.Addr{one(host.IPv4)}}.must(t)
			if s.Limited != want {
				t.Errorf("%s, %v: %d hosts limit their refusals, want %d; %+v", engine, host.IPv4, s.Limited, want, s)
			}
			r.close()
		}
	}
}
