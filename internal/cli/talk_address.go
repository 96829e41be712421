package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sonde/internal/dial"
)

// A destination is whom to talk to: a host and a port, or a socket in the file system.
type destination struct {
	host string
	port uint16
	unix string // its path; empty: none
}

func (d destination) String() string {
	if d.unix != "" {
		return unixPrefix + d.unix
	}
	return net.JoinHostPort(d.host, strconv.Itoa(int(d.port)))
}

const unixPrefix = "unix:"

// destination reads HOST PORT, HOST:PORT or unix:PATH.
func (t *talker) destination(args []string) (d destination, err error) {
	if len(args) > 0 && strings.HasPrefix(args[0], unixPrefix) {
		d.unix = strings.TrimPrefix(args[0], unixPrefix)
		return d, t.checkUnix(d.unix, args[1:])
	}
	d.host, d.port, err = hostPort("talk", args, t.udp)
	return d, err
}

// checkUnix refuses what a socket in the file system cannot be, or be asked for.
func (t *talker) checkUnix(path string, more []string) error {
	switch {
	case len(more) > 0:
		return misuse(fmt.Errorf("a port given for unix:%s: %s", path, more[0]), "leave it out: a socket in the file system has no ports")
	case path == "" || path == "@":
		return misuse(errors.New("no path given after 'unix:'"), "name the socket: sonde talk unix:/run/name.sock, or unix:@NAME for one without a file")
	case len(path) > dial.MaxUnixPath:
		return misuse(fmt.Errorf("the path of unix:%s has %d bytes, and a socket's has room for %d", path, len(path), dial.MaxUnixPath),
			"change to its directory and give a relative path, or make a shorter link to it")
	case t.tcp:
		return misuse(errors.New("--tcp does not go with a unix: socket"), "leave it out: such a socket is on this machine alone")
	case t.udp:
		return misuse(errors.New("--udp does not go with a unix: socket"), "leave it out: such a socket is a stream")
	case t.only4, t.only6, t.source != "":
		return misuse(errors.New("-4, -6 and --source do not go with a unix: socket"), "leave them out: such a socket has no addresses")
	case t.proxyURL != "":
		return misuse(errors.New("--proxy does not go with a unix: socket"), "leave it out: no proxy sees this machine's sockets")
	}
	return nil
}

// parseSource reads --source ADDR[:PORT].
func (t *talker) parseSource() (netip.AddrPort, error) {
	if t.source == "" {
		return netip.AddrPort{}, nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(t.source, "[]")); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), 0), nil
	}
	source, err := netip.ParseAddrPort(t.source)
	if err != nil {
		return source, misuse(fmt.Errorf("%q is no source address", t.source), "write an address of this machine, as 192.0.2.1, 192.0.2.1:4000 or [2001:db8::1]:4000")
	}
	return netip.AddrPortFrom(source.Addr().Unmap(), source.Port()), nil
}

// resolve returns the addresses of host that -4, -6 and --source leave.
func (t *talker) resolve(ctx context.Context, host string, source netip.AddrPort) ([]netip.Addr, error) {
	all, err := t.addresses(ctx, host)
	if err != nil || !source.IsValid() {
		return all, err
	}
	addrs := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return a.Is4() != source.Addr().Is4() })
	if len(addrs) == 0 {
		return nil, failure(fmt.Errorf("%s has no address that %v can talk to", host, source.Addr()),
			fmt.Sprintf("its address is %v; give a --source of that family", all[0]))
	}
	return addrs, nil
}

// addresses returns those of host that -4 and -6 leave: itself, where it is one. Of a name's they are in the order of RFC 8305, to be
// raced; datagrams cannot race, because a socket that sends is no sign of anybody, and have IPv4 first.
func (t *talker) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		all, err := family{}.lookUpSorted(ctx, host)
		if err != nil {
			return nil, failure(err, "check the spelling, or give its address")
		}
		addrs, err := t.choose(host, all)
		if err != nil {
			return nil, failure(err, "leave out "+t.flag())
		}
		if !t.udp {
			return dial.Interleave(addrs), nil
		}
		slices.SortStableFunc(addrs, byFamily)
		return addrs, nil
	}
	if addr = addr.Unmap(); !t.allows(addr) {
		return nil, misuse(fmt.Errorf("%v is no %s address, and no other is allowed", addr, t.family), "leave out "+t.flag())
	}
	return []netip.Addr{addr}, nil
}

// flag is what excludes the other family.
func (t *talker) flag() string {
	if t.only4 {
		return "-4"
	}
	return "-6"
}
