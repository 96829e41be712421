package lab

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
)

// Net is the lab's network as its client sees it: the test process, in a namespace of its own. Its methods
// may be called from several goroutines, subtests in parallel for one.
//
// The nth link is 198.18.n.0/24 and fd00:n::/64; its end nearer to the client is .1 and ::1, the other .2 and ::2.
type Net struct {
	mu     sync.Mutex
	links  int
	client machine
}

// Host starts a host that hangs directly on the client. It is ready when Host returns, and gone when t ends.
// What goes wrong in it fails t.
func (n *Net) Host(t testing.TB, c Config) *Host {
	t.Helper()
	return n.add(t, c, nil)
}

// Filter lays rules on the client itself: a firewall of one's own. Ports and Addrs are those of the hosts, as
// everywhere, and In leads to them. They last until t ends; a second call replaces the first's rules.
func (n *Net) Filter(t testing.TB, rules ...Rule) {
	t.Helper()
	if err := (Config{Rules: rules}).check(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	if _, err := n.client.execute(request{Filter: &filter{Client: true, Rules: rules}}); err != nil {
		failOrSkip(t, fmt.Errorf("client: %w", err))
	}
	t.Cleanup(func() {
		if _, err := n.client.execute(request{Filter: &filter{}}); err != nil {
			t.Errorf("lab: client: %v", err)
		}
	})
}

// Hits returns how many packets each of the client's rules has taken so far.
func (n *Net) Hits(t testing.TB) []uint64 {
	t.Helper()
	r, err := n.client.execute(request{Hits: true})
	if err != nil {
		t.Fatalf("lab: client: %v", err)
	}
	return r.Hits
}

// A Host is a process in a namespace of its own, started by a Config and known by its addresses.
type Host struct {
	IPv4, IPv6 netip.Addr       // its own; Config.Local are more
	MAC        net.HardwareAddr // of its eth0
	Device     string           // the other end of its link: the client's device, or that of the host that it is behind
	Config     Config           // what was asked for, unchanged

	net    *Net
	router *Host // what it is behind; nil for the client
	link   link
	*child
}

// Behind starts a host that is reached through h only, and makes h a router: what passes through it meets its
// Rules. It is ready when Behind returns, and gone when t ends, which must be no later than h's own test.
func (h *Host) Behind(t testing.TB, c Config) *Host {
	t.Helper()
	forward := Config{Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}}
	h.must(t, request{Config: &forward})
	return h.net.add(t, c, h)
}

// Hits returns how many packets each of the host's rules has taken so far, in both ways: matched by Count and by the
// rules that decide, swallowed by Lose and Limit.
func (h *Host) Hits(t testing.TB) []uint64 {
	t.Helper()
	return h.must(t, request{Hits: true}).Hits
}

// must has the host do r, or ends t.
func (h *Host) must(t testing.TB, r request) reply {
	t.Helper()
	answer, err := h.do(r)
	if err != nil {
		failOrSkip(t, fmt.Errorf("host %v: %w", h.IPv4, err))
	}
	return answer
}

// add starts a host and links it to router, or to the client.
func (n *Net) add(t testing.TB, c Config, router *Host) *Host {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	link, err := n.next()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	kid, err := startChild(t)
	if err != nil {
		failOrSkip(t, fmt.Errorf("start a host: %w", err))
	}
	h := &Host{IPv4: link.far4, IPv6: link.far6, MAC: link.mac(2), Device: fmt.Sprintf("lab%d", link.n), Config: c, net: n, router: router, link: link, child: kid}
	t.Cleanup(func() { h.stop(t) })
	if err := h.connect(); err != nil {
		failOrSkip(t, fmt.Errorf("host %v: %w", h.IPv4, err))
	}
	return h
}

func (h *Host) stop(t testing.TB) {
	if err := h.end(); err != nil {
		t.Errorf("lab: host %v: %v; its words are above", h.IPv4, err)
	}
	if h.router != nil {
		return // the kernel takes the link away with the namespaces; it is nobody else's
	}
	if link, err := netlink.LinkByName(h.Device); err == nil {
		_ = netlink.LinkDel(link) // lest it be there until the kernel has cleared the namespace away; it may have by now
	}
}

// connect lays the link between h and what it is behind, and has both ends know the way.
func (h *Host) connect() error {
	l, near, far := h.link, h.upstream(), h.do
	// A router asks for its neighbours from a link-local address; the kernel's own takes a second or two to be usable.
	nearLocal, farLocal := netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("fe80::2/64")
	if err := h.lay(); err != nil {
		return err
	}
	up := []route{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), l.near4}, {netip.PrefixFrom(netip.IPv6Unspecified(), 0), l.near6}}
	for _, step := range []struct {
		do func(request) (reply, error)
		request
	}{
		{far, request{End: &end{Name: "eth0", GRO: h.Config.GRO, Wire: h.Config.Wire}, Join: &join{"eth0", []netip.Prefix{netip.PrefixFrom(l.far4, 24), netip.PrefixFrom(l.far6, 64), farLocal}}}},
		{near, request{End: &end{Name: h.Device, GRO: h.Config.Wire == Answerer, Whole: h.Config.Wire != Kernel}, Join: &join{h.Device, []netip.Prefix{netip.PrefixFrom(l.near4, 24), netip.PrefixFrom(l.near6, 64), nearLocal}}}},
		{far, request{Routes: up, Settle: "eth0", Filter: &filter{Relayed: h.Config.relayed(), Rules: h.Config.Rules}, Config: &h.Config}},
		{near, request{Settle: h.Device}},
	} {
		if _, err := step.do(step.request); err != nil {
			return err
		}
	}
	return h.announce(append(l.prefixes(), h.Config.Local...))
}

// upstream is what does requests at the near end of h's link.
func (h *Host) upstream() func(request) (reply, error) {
	if h.router == nil {
		return h.net.client.execute
	}
	return h.router.do
}

// lay makes the veth pair: eth0 in h, and h.Device in what it is behind.
func (h *Host) lay() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = h.Device, h.link.mac(1), cmp.Or(h.Config.MTU, 1500)
	if h.router != nil {
		attrs.Namespace = netlink.NsPid(h.router.pid())
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(h.pid()), PeerHardwareAddr: h.MAC, PeerMTU: uint32(attrs.MTU)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	return nil
}

// announce tells everyone between the client and h that these prefixes are reached through h. Those
// on a link of one's own need no telling.
func (h *Host) announce(prefixes []netip.Prefix) error {
	var routes []route
	for _, p := range prefixes {
		if p.Contains(h.IPv4) || p.Contains(h.IPv6) {
			continue
		}
		via := h.IPv6
		if p.Addr().Is4() {
			via = h.IPv4
		}
		routes = append(routes, route{p, via})
	}
	if _, err := h.upstream()(request{Routes: routes}); err != nil {
		return err
	}
	if h.router == nil {
		return nil
	}
	return h.router.announce(prefixes)
}

// A link is the addresses at the two ends of a veth pair.
type link struct {
	n                        int
	near4, far4, near6, far6 netip.Addr
}

// next returns the addresses of a link that no other has.
func (n *Net) next() (link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links == 255 {
		return link{}, fmt.Errorf("no more than 255 hosts fit in 198.18.0.0/16")
	}
	n.links++
	v4 := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n.links), last}) }
	v6 := func(last byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 3: byte(n.links), 15: last}) }
	return link{n.links, v4(1), v4(2), v6(1), v6(2)}, nil
}

// mac is the hardware address of one end: one of those that nobody assigns (IEEE 802, section 8.4).
func (l link) mac(end byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, byte(l.n), end} }

func (l link) prefixes() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(l.near4, 24).Masked(), netip.PrefixFrom(l.near6, 64).Masked()}
}
