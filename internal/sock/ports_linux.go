package sock

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Ports are TCP ports that nobody else on this machine gets while they are held. Nobody listens on them: the kernel answers
// what comes to them with a reset.
type Ports struct {
	first uint16
	fds   []int
}

// holdTries is how many places for a row of ports are tried.
const holdTries = 100

// HoldPorts takes n ports in a row on all addresses, IPv6 ones if there are any: those from first on or, if first is 0, some
// that are free among those that the system gives to clients. It takes a descriptor for each. An error that is IsInUse names the
// port that somebody has. The caller closes them.
func HoldPorts(n int, first uint16) (*Ports, error) {
	if n < 1 || int(first)+n-1 > 65535 {
		return nil, fmt.Errorf("hold %d ports from %d on: there are no such ports", n, first)
	}
	if first != 0 {
		return hold(n, first)
	}
	low, high, err := clientPorts()
	if err != nil {
		return nil, err
	}
	room := high - low + 1 - n
	if room < 0 {
		return nil, fmt.Errorf("hold %d ports between %d and %d: there are not so many", n, low, high)
	}
	for range holdTries {
		p, err := hold(n, uint16(low+rand.IntN(room+1)))
		if err == nil || !IsInUse(err) {
			return p, err
		}
	}
	return nil, fmt.Errorf("hold %d ports in a row between %d and %d: %w", n, low, high, ErrInUse)
}

// clientPorts returns the range that the system gives to clients (ip(7)).
func clientPorts() (low, high int, err error) {
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil || low < 1 || low > high || high > 65535 {
		return 0, 0, fmt.Errorf("read %s: %q are no ports", file, text)
	}
	return low, high, nil
}

func hold(n int, first uint16) (*Ports, error) {
	p := &Ports{first: first}
	for i := range n {
		fd, err := holdPort(first + uint16(i))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("hold port %d: %w", int(first)+i, err), p.Close())
		}
		p.fds = append(p.fds, fd)
	}
	return p, nil
}

// holdPort binds a socket for both families or, if there is only that, for IPv4.
func holdPort(port uint16) (int, error) {
	any := netip.IPv6Unspecified()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if noSuchFamily(err) {
		any = netip.IPv4Unspecified()
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, zones{}.sockaddr(netip.AddrPortFrom(any, port))))
	}
	if err != nil && fd >= 0 {
		_ = unix.Close(fd)
	}
	return fd, err
}

// First returns the first of the ports.
func (p *Ports) First() uint16 { return p.first }

// Last returns the last of them.
func (p *Ports) Last() uint16 { return p.first + uint16(len(p.fds)-1) }

// Close lets the ports go. It is called once.
func (p *Ports) Close() error {
	var errs []error
	for _, fd := range p.fds {
		errs = append(errs, unix.Close(fd))
	}
	p.fds = nil
	return errors.Join(errs...)
}
