package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"runtime"
	"strings"

	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// What serving many ports needs in descriptors: one for each port on each address, for each processor an event loop of either protocol,
// and something must be left for connections. The siblings of a few UDP sockets do not count: without room for them they are left out.
const (
	filesPerPort = 1
	filesPerLoop = 2
	filesLeft    = 64
)

// filesBeside is how many descriptors are needed beside those of the ports.
func (f *serverFlags) filesBeside(ports target.Ports) uint64 {
	n := filesLeft
	for _, proto := range [...]probe.Proto{probe.TCP, probe.UDP} {
		if ports.Count(proto) > 0 {
			n += filesPerLoop * runtime.GOMAXPROCS(0)
		}
	}
	if f.metrics != "" {
		n += 2 * (1 + metricsConns) // localhost and * are two addresses
	}
	return uint64(n)
}

// present returns how many of addrs this machine has: ::1 may not be there.
func present(addrs []netip.Addr) (n int) {
	for _, a := range addrs {
		u, err := sock.ListenUDP(netip.AddrPortFrom(a, 0))
		if err == nil {
			_ = u.Close()
		}
		if err == nil || !sock.IsNoAddress(err) {
			n++
		}
	}
	return max(n, 1) // of none Bind says what is wrong
}

// portSet reads --ports. A port without a protocol is every one's that is served.
func (f *serverFlags) portSet() (set target.Ports, err error) {
	tcp, udp := f.protocols()
	served := map[probe.Proto]bool{probe.TCP: tcp, probe.UDP: udp}
	for _, proto := range [...]probe.Proto{probe.TCP, probe.UDP} {
		if !served[proto] {
			continue
		}
		named, err := target.ParsePorts(f.ports, proto, services{})
		if err != nil {
			return set, misuse(fmt.Errorf("--ports: %w", err), "write ports and ranges: --ports 1-1024,8000-9000")
		}
		set = set.Union(named)
	}
	set = set.Where(func(proto probe.Proto, _ uint16) bool { return served[proto] })
	if set.Len() == 0 {
		return set, misuse(fmt.Errorf("--ports %s names no port that is served", f.ports), "T: is for TCP, U: for UDP; --tcp, --udp and TLS leave the other out")
	}
	return set, nil
}

// checkFiles refuses what this process may not open, before anything is bound.
func checkFiles(ports target.Ports, addrs int, beside, limit uint64) error {
	tcp, udp := ports.Count(probe.TCP), ports.Count(probe.UDP)
	need := uint64(addrs)*(tcp+udp)*filesPerPort + beside
	if need <= limit {
		return nil
	}
	each := uint64(addrs) * filesPerPort // descriptors that a port needs, as most of these do
	if tcp > 0 && udp > 0 {
		each *= 2
	}
	fit := (max(limit, beside) - beside) / each
	words := fmt.Errorf("--ports names too many: they need %d descriptors, and this process may have %d, enough for %s", need, limit, quantity(fit, "port"))
	if runtime.GOOS == "windows" {
		return misuse(words, "share the ports out among several processes")
	}
	return misuse(words, fmt.Sprintf("allow it more: ulimit -n %d", need), "or leave out a protocol (--tcp, --udp) or an address (ADDR)")
}

// bindPorts binds what --ports names and tells what could not be bound. Nothing bound is an error.
func (a *app) bindPorts(ctx context.Context, f *serverFlags, want serve.Want) (*serve.Sockets, error) {
	ports, err := f.portSet()
	if err != nil {
		return nil, err
	}
	if limit, err := sock.RaiseFileLimit(); err == nil {
		if err := checkFiles(ports, present(want.Addrs), f.filesBeside(ports), limit); err != nil {
			return nil, err
		}
	}
	sockets, err := serve.BindPorts(ctx, want, ports)
	if sockets == nil {
		return nil, err
	}
	whole := len(sockets.TCP) + len(sockets.UDP) + len(sockets.Failed)
	groups := groupFailed(sockets.Failed)
	if err != nil && len(groups) > 0 {
		return nil, failure(fmt.Errorf("none of the %d sockets could be bound; %s: %s", whole, groups[0].reason, groups[0].where()), groups[0].next)
	}
	for _, g := range groups {
		a.warn("%d of %d sockets not bound, the rest is served; %s: %s", g.count, whole, g.reason, g.where())
		fmt.Fprintf(a.stderr(), "sonde: hint: %s\n", g.next)
	}
	return sockets, err
}

// A failedGroup is what could not be bound for one reason.
type failedGroup struct {
	reason, next string
	count        int
	endpoints    []endpoints
}

// endpoints are ports of one protocol on one address.
type endpoints struct {
	proto probe.Proto
	addr  netip.Addr
	ports []uint16
}

// groupFailed sorts failures by reason, in the order in which the reasons were met.
func groupFailed(failed []*serve.BindError) (groups []*failedGroup) {
	byReason := map[string]*failedGroup{}
	for _, e := range failed {
		reason, next := whyNotBound(e)
		g := byReason[reason]
		if g == nil {
			g = &failedGroup{reason: reason, next: next}
			byReason[reason], groups = g, append(groups, g)
		}
		g.count++
		g.endpoints = addEndpoint(g.endpoints, e.Proto, e.Addr)
	}
	return groups
}

// addEndpoint puts a port to the others of its protocol and address.
func addEndpoint(list []endpoints, proto probe.Proto, at netip.AddrPort) []endpoints {
	for i := len(list) - 1; i >= 0; i-- {
		if e := &list[i]; e.proto == proto && e.addr == at.Addr() {
			e.ports = append(e.ports, at.Port())
			return list
		}
	}
	return append(list, endpoints{proto, at.Addr(), []uint16{at.Port()}})
}

// where is "tcp 127.0.0.1:22,80-81, udp [::1]:53".
func (g *failedGroup) where() string {
	words := make([]string, len(g.endpoints))
	for i, e := range g.endpoints {
		words[i] = fmt.Sprintf("%v %s", e.proto, at(e.addr, target.PortList(e.proto, e.ports...).Numbers()))
	}
	return strings.Join(words, ", ")
}

// at puts ports behind an address, as netip.AddrPort does with one.
func at(addr netip.Addr, ports string) string { return net.JoinHostPort(addr.String(), ports) }

// whyNotBound says why a port of a range could not be bound, and what the next step is.
func whyNotBound(e *serve.BindError) (reason, next string) {
	switch {
	case sock.IsInUse(e):
		return "in use by another program", "find out which has the first: " + whoListens(e)
	case errors.Is(e, fs.ErrPermission):
		next = "take ports of 1024 or more"
		if runtime.GOOS == "linux" {
			next += `, or allow sonde low ports: sudo setcap cap_net_bind_service=+ep "$(command -v sonde)"`
		}
		return "no permission", next
	case sock.IsNoAddress(e):
		return "no address of this machine", "list its addresses: " + ownAddresses()
	case sock.IsLimit(e):
		return fmt.Sprintf("this machine has no room for more (%v)", e.Err), "name fewer ports"
	}
	return e.Err.Error(), "name other ports"
}

// eachRange calls tell for each run of adjacent ports of one protocol and address, as "127.0.0.1:1-1024".
func eachRange(s *serve.Sockets, tell func(proto probe.Proto, where string) error) error {
	var all []endpoints
	err := eachSocket(s, func(proto probe.Proto, local netip.AddrPort) error {
		all = addEndpoint(all, proto, local)
		return nil
	})
	for _, e := range all {
		for run := range strings.SplitSeq(target.PortList(e.proto, e.ports...).Numbers(), ",") {
			if err == nil {
				err = tell(e.proto, at(e.addr, run))
			}
		}
	}
	return err
}
