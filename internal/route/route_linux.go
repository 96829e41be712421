package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Open reads where the kernel's answers may change, which takes as long as there are routes, and makes sure that the
// interface exists and the sources are this machine's. It needs no privileges.
func Open(c Config) (*Table, error) {
	cuts, err := readCuts()
	if err != nil {
		return nil, err
	}
	t := newTable(c, cuts)
	if c.Interface != "" {
		link, err := netlink.LinkByName(c.Interface)
		if err != nil {
			return nil, fmt.Errorf("find interface %s: %w", c.Interface, err)
		}
		t.index = link.Attrs().Index
	}
	for _, source := range []netip.Addr{c.Source4.Unmap(), c.Source6} {
		if source.IsValid() && !isOwn(source) {
			return nil, fmt.Errorf("send from %v: %w", source, unix.EADDRNOTAVAIL)
		}
	}
	return t, nil
}

// isOwn reports whether the kernel takes packets to a itself.
func isOwn(a netip.Addr) bool {
	route, err := getRoute(a, netip.Addr{}, zoneIndex(a.Zone()))
	return err == nil && route.Type == unix.RTN_LOCAL
}

// isLocal reports whether packets stay in this machine. Those to the subnet's routers (RFC 4291 section 2.6.1) do if it is one.
func isLocal(route *netlink.Route) bool {
	return route.Type == unix.RTN_LOCAL || route.Type == unix.RTN_ANYCAST
}

// ask asks the kernel for the way to a (rtnetlink(7), RTM_GETROUTE).
func (t *Table) ask(a netip.Addr) (Hop, error) {
	out := t.index
	if zone := zoneIndex(a.Zone()); zone != 0 {
		if out != 0 && out != zone {
			return Hop{}, fmt.Errorf("%w by %s", ErrNoRoute, t.config.Interface)
		}
		out = zone
	}
	route, err := getRoute(a, t.source(a), out)
	if err != nil {
		return Hop{}, refusal(err)
	}
	switch route.Type {
	case unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_ANYCAST:
	case unix.RTN_BROADCAST, unix.RTN_MULTICAST:
		return Hop{}, fmt.Errorf("%w to one host: this is a broadcast or multicast address", ErrNoRoute)
	default:
		return Hop{}, fmt.Errorf("%w to one host, but one of type %d", ErrNoRoute, route.Type)
	}
	// With a source the kernel takes the interface of an IPv6 packet for a wish (RT6_LOOKUP_F_IFACE in ip6_route_output_flags).
	if out != 0 && route.LinkIndex != out && !isLocal(route) {
		return Hop{}, fmt.Errorf("%w by interface %d", ErrNoRoute, out)
	}
	return t.hop(a, route)
}

// zoneIndex returns the interface that a zone names, or numbers (RFC 4007 section 11.2); 0 for no zone, and -1, which no interface
// has, for one that does not exist.
func zoneIndex(zone string) int {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return i.Index
	}
	if n, err := strconv.ParseUint(zone, 10, 31); err == nil && n > 0 {
		return int(n)
	}
	return -1
}

// getRoute asks for one route. What is not valid, or 0, is left to the kernel.
func getRoute(a, source netip.Addr, out int) (*netlink.Route, error) {
	if out < 0 {
		return nil, unix.ENODEV
	}
	options := &netlink.RouteGetOptions{OifIndex: out}
	if source.IsValid() {
		options.SrcAddr = source.AsSlice()
	}
	routes, err := netlink.RouteGetWithOptions(a.AsSlice(), options)
	if err != nil {
		return nil, err
	}
	if len(routes) != 1 {
		return nil, fmt.Errorf("the kernel has %d answers", len(routes))
	}
	return &routes[0], nil
}

// refusal makes of the kernel's error what it says of the route (fib_props and ip6_rt_type_to_error in the kernel).
func refusal(err error) error {
	for errno, what := range map[unix.Errno]string{
		unix.ENETUNREACH:  "", // nothing said anything of the address
		unix.EHOSTUNREACH: ": a route here makes it unreachable",
		unix.EACCES:       ": a route here prohibits it",
		unix.EINVAL:       ": a blackhole route here swallows it",
		unix.ENODEV:       ": there is no such interface",
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w%s (%w)", ErrNoRoute, what, errno)
		}
	}
	return err
}

// hop describes what the kernel answered about a.
func (t *Table) hop(a netip.Addr, route *netlink.Route) (Hop, error) {
	h, err := t.link(route.LinkIndex)
	if err != nil {
		return Hop{}, err
	}
	h.Local, h.Source, h.Gateway = isLocal(route), t.source(a), gateway(route)
	if route.MTU != 0 {
		h.MTU = min(h.MTU, route.MTU)
	}
	if route.Encap != nil { // it wraps its packets (ip-route(8), encap): what leaves is no frame of their own
		h.Ethernet, h.Link = false, [6]byte{}
	}
	if !h.Source.IsValid() {
		h.Source, _ = netip.AddrFromSlice(route.Src)
	}
	if !h.Source.IsValid() {
		return Hop{}, fmt.Errorf("%w: no address here to send from by %s", ErrNoRoute, h.Name)
	}
	return h, nil
}

// link returns what the hops by one interface have in common.
func (t *Table) link(index int) (Hop, error) {
	if h, ok := t.links[index]; ok {
		return h, nil
	}
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return Hop{}, fmt.Errorf("find interface %d: %w", index, err)
	}
	attrs := link.Attrs()
	h := Hop{Interface: attrs.Index, Name: attrs.Name, MTU: attrs.MTU}
	if attrs.EncapType == "ether" && len(attrs.HardwareAddr) == len(h.Link) {
		h.Ethernet, h.Link = true, [6]byte(attrs.HardwareAddr)
	}
	t.links[index] = h
	return h, nil
}

// gateway returns the next hop of a route. That of an IPv4 route may be an IPv6 address (RTA_VIA, RFC 5549).
func gateway(route *netlink.Route) netip.Addr {
	ip := route.Gw
	if via, ok := route.Via.(*netlink.Via); ok && via != nil {
		ip = via.Addr
	}
	a, _ := netip.AddrFromSlice(ip)
	return a
}
