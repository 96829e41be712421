package sock

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Dialer starts TCP connections without waiting for them and tells how they went. It owns
// an epoll instance; the sockets are named by their descriptors, which the caller gets from Dial and
// gives back to Abort. One goroutine uses a Dialer; only Wake may be called from others.
type Dialer struct {
	Source4, Source6 netip.Addr // where connections come from; invalid: the kernel's choice
	Interface        string     // the only one they leave by; empty: any

	epoll, wake int
	events      []unix.EpollEvent
	zones       map[string]uint32 // interface numbers by zone: asking the kernel for each connect is slow
}

// NewDialer returns a Dialer. The caller closes it.
func NewDialer() (*Dialer, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	d := &Dialer{epoll: epoll, wake: wake, events: make([]unix.EpollEvent, 256), zones: map[string]uint32{}}
	if err := d.watch(wake, unix.EPOLLIN); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close ends the Dialer. Sockets that were not given back stay open.
func (d *Dialer) Close() {
	_ = unix.Close(d.wake)
	_ = unix.Close(d.epoll)
}

func (d *Dialer) watch(fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// Wake makes Wait return.
func (d *Dialer) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(d.wake, one[:]) // EAGAIN: the counter is full, so it wakes already
}

// Wait waits until sockets have an outcome, Wake was called or the timeout (none below 0)
// is over, and returns the sockets' descriptors in buf, and whether there may be more. Those
// returned are to be given back before the next Wait.
func (d *Dialer) Wait(buf []int, timeout time.Duration) (fds []int, more bool, err error) {
	n, err := unix.EpollWait(d.epoll, d.events, milliseconds(timeout))
	if err != nil && err != unix.EINTR {
		return buf, false, os.NewSyscallError("epoll_wait", err)
	}
	for _, e := range d.events[:max(n, 0)] {
		if int(e.Fd) != d.wake {
			buf = append(buf, int(e.Fd))
			continue
		}
		var count [8]byte
		_, _ = unix.Read(d.wake, count[:])
	}
	return buf, n == len(d.events), nil
}

// milliseconds rounds up: waking early would find nothing and turn waiting into polling.
func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
}

// An Outcome is how a connect ended.
type Outcome struct {
	Local netip.AddrPort // of a connection: our side, without its zone
	Err   error          // nil, or why there is no connection
	ICMP  ICMPError      // what the network said, if Network
	// Network says that ICMP is valid; without it a refusal came as a TCP reset.
	Network bool
	// Ours says that nothing was sent: a limit, no route, or a refusal of this system.
	Ours bool
	// Self says that the socket is connected to itself: nobody listens there.
	Self bool
}

// Dial starts a connection. It returns the socket, and whether its outcome is known
// already; if not, Wait will name it. With Outcome.Ours there is no socket.
func (d *Dialer) Dial(to netip.AddrPort) (fd int, o Outcome, done bool) {
	fd, err := d.open(to.Addr())
	if err != nil {
		return -1, Outcome{Err: err, Ours: true}, true
	}
	switch err := unix.Connect(fd, d.sockaddr(to)); err {
	case nil:
		return fd, d.outcome(fd, to, nil), true
	case unix.EINPROGRESS:
		if err := d.watch(fd, unix.EPOLLOUT); err != nil {
			Drop(fd)
			return -1, Outcome{Err: err, Ours: true}, true
		}
		return fd, Outcome{}, false
	default:
		o := d.outcome(fd, to, err)
		if !o.Network && err != unix.ECONNREFUSED && err != unix.ECONNRESET {
			Drop(fd)
			return -1, Outcome{Err: os.NewSyscallError("connect", err), Ours: true}, true
		}
		return fd, o, true
	}
}

// open makes a socket that connects as the Dialer says.
func (d *Dialer) open(to netip.Addr) (int, error) {
	domain, source := unix.AF_INET, d.Source4
	if to.Is6() {
		domain, source = unix.AF_INET6, d.Source6
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := d.bind(fd, to, source); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d *Dialer) bind(fd int, to, source netip.Addr) error {
	// Without the queue a firewall's refusal looks like the host's own; the verdict is then worse, not wrong.
	_ = watchErrors(fd, to.Is6())
	if d.Interface != "" {
		if err := unix.BindToDevice(fd, d.Interface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", d.Interface, err)
		}
	}
	if !source.IsValid() {
		return nil
	}
	// The port is chosen when the connection's other end is known: it need be unique only then (ip(7)).
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, d.sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to source %s: %w", source, err)
	}
	return nil
}

// Outcome returns how the connection of a socket that Wait named ended.
func (d *Dialer) Outcome(fd int, to netip.AddrPort) Outcome {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return Outcome{Err: os.NewSyscallError("getsockopt", err)}
	}
	if errno != 0 {
		return d.outcome(fd, to, unix.Errno(errno))
	}
	return d.outcome(fd, to, nil)
}

func (d *Dialer) outcome(fd int, to netip.AddrPort, err error) Outcome {
	if err == nil {
		local, lerr := LocalAddr(fd)
		return Outcome{Local: local, Self: lerr == nil && local == netip.AddrPortFrom(to.Addr().WithZone(""), to.Port())}
	}
	o := Outcome{Err: os.NewSyscallError("connect", err)}
	o.ICMP, o.Network = nextError(fd)
	return o
}

// LocalAddr returns the address, without its zone, and the port that a socket sends from.
func LocalAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("getsockname: no address of the internet")
}

// Abort closes a socket at once, with a reset if it is connected: a scan that said goodbye
// in order would leave a TIME_WAIT behind for every open port.
func Abort(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 0})
	_ = unix.Close(fd)
}

// Drop closes a socket that is not connected: the peer hears nothing of it.
func Drop(fd int) { _ = unix.Close(fd) }

func (d *Dialer) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: d.zoneID(a.Addr().Zone())}
}

// zoneID returns the interface number of a zone: its name's, or the number it is written as.
func (d *Dialer) zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	id, ok := d.zones[zone]
	if ok {
		return id
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		id = uint32(i.Index)
	} else if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		id = uint32(n)
	}
	d.zones[zone] = id
	return id
}
