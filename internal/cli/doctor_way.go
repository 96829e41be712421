package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"sonde/internal/route"
	"sonde/internal/xdp"
)

// A patient is an address that the way to is asked for.
type patient struct {
	name string // as it was named, and the address where that does not say it
	addr netip.Addr
}

// patients resolves targets. It tells of those that cannot be resolved, and reports whether there are any.
func (d *doctor) patients(ctx context.Context, targets []string) (all []patient, unresolved bool, err error) {
	if len(targets) == 0 {
		return nil, false, nil
	}
	d.hosts = targets
	specs, err := d.specs(d.in)
	if err != nil {
		return nil, false, err
	}
	waiting := time.AfterFunc(dialNotice, func() { d.note("still resolving names") })
	defer waiting.Stop()
	answers, err := d.lookUpAll(ctx, specs)
	if err != nil {
		return nil, false, err
	}
	f := &found{names: map[netip.Addr]string{}}
	for _, spec := range d.place(specs, answers, f) {
		p := patient{spec.Text, spec.First}
		if spec.First != spec.Last { // the first may be the network's own name
			p.addr = spec.First.Next()
		}
		if p.name != p.addr.String() {
			p.name = fmt.Sprintf("%s (%v)", p.name, p.addr)
		}
		all = append(all, p)
	}
	for _, err := range f.unresolved {
		_ = d.exit(failure(err))
	}
	return all, len(f.unresolved) > 0, nil
}

// wayFindings has a group for each patient, and reports whether there is no way to some.
func (m *machine) wayFindings(patients []patient) (groups []findings, lost bool) {
	if len(patients) == 0 {
		return nil, false
	}
	table, err := route.Open(route.Config{})
	for _, p := range patients {
		f := findings{group: "route to " + p.name}
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			err := m.tellSource(&f, p.addr)
			lost = lost || err != nil
		case err != nil:
			f.note("way", "%v", err)
		default:
			err := m.tellWay(&f, table, p.addr)
			lost = lost || err != nil
		}
		groups = append(groups, f)
	}
	return groups, lost
}

// tellSource tells what a system without package route says: by which address it would send. A datagram socket that is
// connected sends nothing by that.
func (m *machine) tellSource(f *findings, a netip.Addr) error {
	const discard = 9 // RFC 863
	conn, err := net.Dial("udp", netip.AddrPortFrom(a, discard).String())
	if err != nil {
		f.lack("way", m.routeCommand(a), "%v", err)
		return err
	}
	defer conn.Close()
	f.ok("way", "from %v", conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr())
	return nil
}

// routeCommand asks the system itself.
func (m *machine) routeCommand(a netip.Addr) string {
	a = a.WithZone("")
	switch {
	case m.system == "linux":
		return fmt.Sprintf("ip route get %v", a)
	case m.system == "windows":
		return "route print"
	case a.Is6():
		return fmt.Sprintf("route -n get -inet6 %v", a)
	}
	return fmt.Sprintf("route -n get %v", a)
}

func (m *machine) tellWay(f *findings, table *route.Table, a netip.Addr) error {
	hop, err := table.Lookup(a)
	if err != nil {
		f.lack("way", m.routeCommand(a), "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("route to %v: ", a)))
		return err
	}
	next := "on the link"
	switch {
	case hop.Local:
		next = "this machine itself"
	case hop.Gateway.IsValid():
		next = fmt.Sprintf("by %v", hop.Gateway)
	}
	f.ok("way", "%s, %s, from %v, MTU %d", hop.Name, next, hop.Source, hop.MTU)
	if hop.Ethernet && !hop.Local {
		tellNeighbor(f, table, hop, a)
	}
	x, err := xdp.ReadFeatures(hop.Interface)
	m.tellEngine(f, hop, x, err)
	return nil
}

func tellNeighbor(f *findings, table *route.Table, hop *route.Hop, a netip.Addr) {
	whose := a.WithZone("")
	if hop.Gateway.IsValid() {
		whose = hop.Gateway
	}
	if link, ok := table.Neighbor(hop, a); ok {
		f.ok("link address", "%v of %v", net.HardwareAddr(link[:]), whose)
		return
	}
	protocol := "ARP"
	if whose.Is6() {
		protocol = "NDP"
	}
	f.ok("link address", "that of %v is not known yet; %s finds it when it is needed", whose, protocol)
}

// tellEngine tells who would send the SYNs of a scan, as chooseEngine has it.
func (m *machine) tellEngine(f *findings, hop *route.Hop, x xdp.Features, xerr error) {
	fit, why := fitness(x)
	switch {
	case m.raw != nil:
		f.note("engine", "none: there are no raw sockets for this program; --method connect needs none")
	case hop.Local:
		f.ok("engine", "raw: XDP does not see what stays in this machine")
	case xerr != nil:
		f.ok("engine", "raw: %v", xerr)
	case !hop.Ethernet:
		f.ok("engine", "raw: no Ethernet")
	case !fit:
		f.ok("engine", "raw: %s", why)
	case m.xdp != nil:
		f.ok("engine", "raw: there is no XDP here for this program (see privileges and kernel)")
	default:
		f.ok("engine", "xdp for %s or more, else raw; %s", number(xdpTargets)+" ports", why)
	}
}
