package sock

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Dialer starts TCP connections without waiting for them and tells how they went. It owns
// an epoll instance and its sockets, which the caller names by their descriptors. One
// goroutine uses a Dialer; only Wake may be called from others, and even when it is closed.
//
// A socket is used again and again, and stays with epoll meanwhile: on Linux a connect that failed
// leaves it as new, and a connect to AF_UNSPEC does so at any time (connect(2)), with a
// reset to whoever it was connected to. Making and closing one for each
// connection cost more than a third of a scan.
type Dialer struct {
	Source4, Source6 netip.Addr // where connections come from; invalid: the kernel's choice
	Interface        string     // the only one they leave by; empty: any

	epoll        int
	waker        waker
	events       []unix.EpollEvent
	sockets      map[int]struct{} // all
	idle4, idle6 []int            // those that are free
	zones        zones
	calls        dialCalls
}

// NewDialer returns a Dialer. The caller closes it.
func NewDialer() (*Dialer, error) {
	d := &Dialer{events: make([]unix.EpollEvent, 256), sockets: map[int]struct{}{}, zones: zones{}}
	var err error
	d.epoll, err = openEpoll(&d.waker)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Close ends the Dialer and every connection of its.
func (d *Dialer) Close() {
	for fd := range d.sockets {
		_ = disconnect(fd)
		_ = unix.Close(fd)
	}
	_ = unix.Close(d.epoll)
	d.waker.close()
}

// Wake makes Wait return.
func (d *Dialer) Wake() { d.waker.wake() }

// Wait waits until sockets have an outcome, Wake was called or the timeout (none below 0)
// is over, and returns the sockets' descriptors in buf, and whether there may be more.
// Now and then it names one that has no outcome, or that is free.
func (d *Dialer) Wait(buf []int, timeout time.Duration) (fds []int, more bool, err error) {
	n, err := unix.EpollWait(d.epoll, d.events, milliseconds(timeout))
	if err != nil && err != unix.EINTR {
		return buf, false, os.NewSyscallError("epoll_wait", err)
	}
	for _, e := range d.events[:max(n, 0)] {
		if e.Fd == wakeEvent {
			d.waker.noticed()
			continue
		}
		buf = append(buf, int(e.Fd))
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
	// RTT of a connection is the kernel's own measure of the handshake; 0 if its SYN was sent more than once.
	RTT  time.Duration
	Err  error     // nil, or why there is no connection
	ICMP ICMPError // what the network said, if Network
	// Network says that ICMP is valid; without it a refusal came as a TCP reset.
	Network bool
	// Ours says that nothing was sent: a limit, no route, or a refusal of this system.
	Ours bool
	// Self says that the socket is connected to itself: nobody listens there.
	Self bool
}

// Dial starts a connection. It returns the socket, and whether its outcome is known
// already; if not, Wait will name it. With Outcome.Ours there is no socket; otherwise the
// caller gives it back to Free or Abort.
func (d *Dialer) Dial(to netip.AddrPort) (fd int, o Outcome, done bool) {
	fd, err := d.take(to.Addr())
	if err != nil {
		return -1, Outcome{Err: err, Ours: true}, true
	}
	errno := d.connect(fd, to)
	if errno == unix.EINPROGRESS {
		return fd, Outcome{}, false
	}
	o = d.outcome(fd, to, errno)
	if errno != 0 && !o.Network && errno != ErrRefused && errno != ErrReset {
		o.Ours = true
		d.Abort(fd, to.Addr())
		return -1, o, true
	}
	return fd, o, true
}

// Outcome returns how the connection of a socket that Wait named went, false if that is still open.
func (d *Dialer) Outcome(fd int, to netip.AddrPort) (o Outcome, done bool) {
	// The second connect tells how the first went, and makes the socket as new if it failed.
	errno := d.connect(fd, to)
	switch errno {
	case unix.EALREADY, unix.EINPROGRESS:
		return d.refusedWhileBusy(fd, to)
	case unix.EISCONN:
		errno = 0
	}
	return d.outcome(fd, to, errno), true
}

func (d *Dialer) outcome(fd int, to netip.AddrPort, errno unix.Errno) Outcome {
	if errno == 0 {
		local, err := localAddr(fd)
		return Outcome{Local: local, RTT: handshake(fd), Self: err == nil && isSelf(local, to)}
	}
	o := Outcome{Err: os.NewSyscallError("connect", errno)}
	o.ICMP, o.Network = d.errorAbout(fd, to)
	return o
}

// isSelf reports whether a connection to to from local is one to itself. One to the unspecified
// address goes to loopback.
func isSelf(local, to netip.AddrPort) bool {
	return local.Port() == to.Port() && (local.Addr() == to.Addr().WithZone("") || to.Addr().IsUnspecified())
}

// handshake returns how long a connection's SYN was on its way and back (tcp(7), TCP_INFO).
func handshake(fd int) time.Duration {
	info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil || info.Total_retrans > 0 {
		return 0
	}
	return time.Duration(info.Rtt) * time.Microsecond
}

// take returns a free socket for an address, a new one if there is none.
func (d *Dialer) take(to netip.Addr) (int, error) {
	idle := d.idle(to)
	if n := len(*idle); n > 0 {
		fd := (*idle)[n-1]
		*idle = (*idle)[:n-1]
		return fd, nil
	}
	fd, err := d.open(to)
	if IsLimit(err) && d.dropIdle() {
		fd, err = d.open(to)
	}
	if err != nil {
		return -1, err
	}
	d.sockets[fd] = struct{}{}
	return fd, nil
}

// dropIdle closes a free socket, of the family that is not wanted now, so that there is a descriptor.
func (d *Dialer) dropIdle() bool {
	for _, idle := range []*[]int{&d.idle4, &d.idle6} {
		if n := len(*idle); n > 0 {
			fd := (*idle)[n-1]
			*idle = (*idle)[:n-1]
			delete(d.sockets, fd)
			return unix.Close(fd) == nil
		}
	}
	return false
}

func (d *Dialer) idle(to netip.Addr) *[]int {
	if to.Is6() {
		return &d.idle6
	}
	return &d.idle4
}

// Free gives back the socket of a connection that failed.
func (d *Dialer) Free(fd int, to netip.Addr) {
	idle := d.idle(to)
	*idle = append(*idle, fd)
}

// Abort ends a connection, made or in the making, at once and gives its socket back. The peer of one that was
// made gets a reset: a scan that said goodbye in order would leave a TIME_WAIT behind for every open port.
func (d *Dialer) Abort(fd int, to netip.Addr) {
	_ = disconnect(fd)
	d.Free(fd, to)
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
	if err = d.bind(fd, to, source); err == nil {
		err = epollAdd(d.epoll, fd, unix.EPOLLOUT|unix.EPOLLET, fd)
	}
	if err != nil {
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
	if err := unix.Bind(fd, d.zones.sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to source %s: %w", source, err)
	}
	return nil
}

// localAddr returns the address, without its zone, and the port that a socket sends from.
func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	return addrPort(sa), nil
}
