package sock

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dialCalls is what a Dialer's system calls read and write. They are made for each probe and never wait: so the
// scheduler need not be told of them, and their memory is not allocated anew.
type dialCalls struct {
	to4 unix.RawSockaddrInet4 // where to
	to6 unix.RawSockaddrInet6

	message unix.Msghdr // an entry of the error queue, and its parts
	about   unix.RawSockaddrInet6
	control [256]byte // a cmsghdr, a sock_extended_err and a sockaddr_in6 need 60
}

// connect is connect(2).
func (d *Dialer) connect(fd int, to netip.AddrPort) unix.Errno {
	var port uint16 // in network byte order
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&port))[:], to.Port())
	c := &d.calls
	addr, size := unsafe.Pointer(&c.to4), unsafe.Sizeof(c.to4)
	if to.Addr().Is4() {
		c.to4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
	} else {
		c.to6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16(), Scope_id: d.zones.id(to.Addr().Zone())}
		addr, size = unsafe.Pointer(&c.to6), unsafe.Sizeof(c.to6)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(addr), size)
	return errno
}

// disconnect makes a TCP socket as new (connect(2), AF_UNSPEC).
func disconnect(fd int) error {
	var unspecified unix.RawSockaddr // its family is AF_UNSPEC, 0
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	if errno != 0 {
		return os.NewSyscallError("connect", errno)
	}
	return nil
}

// refusedWhileBusy looks at the error queue of a socket that is still connecting. An ICMP error that arrives while
// connect(2) holds the socket, as it does from a host that is near, is queued, but the kernel puts off acting on it until
// the SYN is sent again (tcp_v4_err, sk_err_soft).
func (d *Dialer) refusedWhileBusy(fd int, to netip.AddrPort) (o Outcome, done bool) {
	e, ok := d.errorAbout(fd, to)
	if !ok {
		return Outcome{}, false
	}
	_ = disconnect(fd)
	return Outcome{Err: os.NewSyscallError("connect", e.Errno), ICMP: e, Network: true}, true
}

// errorAbout takes off the socket's queue what the network said of a packet to to. What it
// said of an earlier one, too late, is thrown away.
func (d *Dialer) errorAbout(fd int, to netip.AddrPort) (ICMPError, bool) {
	for {
		e, about, ok := d.nextError(fd)
		if !ok {
			return ICMPError{}, false
		}
		if about.Port() == to.Port() && about.Addr() == to.Addr().WithZone("") {
			return e, true
		}
	}
}

// nextError is the function of that name, quicker where the queue is empty, as it is for most refusals.
func (d *Dialer) nextError(fd int) (e ICMPError, about netip.AddrPort, ok bool) {
	c := &d.calls
	c.about = unix.RawSockaddrInet6{}
	c.message = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&c.about)), Namelen: uint32(unsafe.Sizeof(c.about)), Control: &c.control[0]}
	c.message.SetControllen(len(c.control))
	_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&c.message)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if errno != 0 {
		return e, about, false
	}
	e, ok = errorIn(c.control[:c.message.Controllen])
	return e, c.addressed(), ok
}

// addressed returns where the packet went that an error is about, without its zone.
func (c *dialCalls) addressed() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&c.about.Port))[:])
	if c.about.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&c.about)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(c.about.Addr).Unmap(), port)
}
