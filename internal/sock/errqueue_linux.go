package sock

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WatchErrors makes the kernel keep ICMP errors for the socket in its error queue.
// Where the kernel cannot, there is no queue to read and NextError finds nothing.
func WatchErrors(c syscall.Conn) error {
	return onFD(c, func(fd int) error { return watchErrors(fd, isIPv6(fd)) })
}

// NextError takes the oldest entry off the socket's error queue. It returns false when
// there is none. It does not wait.
func NextError(c syscall.Conn) (e ICMPError, ok bool) {
	_ = onFD(c, func(fd int) error {
		e, ok = nextAttributed(fd)
		return nil
	})
	return e, ok
}

// nextAttributed is nextError, with Local said of what an address of this machine sent. What it
// sent about itself is the answer of a target like any other.
func nextAttributed(fd int) (ICMPError, bool) {
	e, about, ok := nextError(fd)
	if !ok || e.Local || e.From == about.Addr() {
		return e, ok
	}
	own, err := OwnAddrs()
	e.Local = err == nil && own[e.From]
	return e, true
}

// A Tap hears what the network says of a connection that net.Dialer makes, and keeps it when net
// has closed the socket. It serves one dial, and is ended by Take, which must be called whatever
// comes of it. The zero value is ready. Only Linux lets it hear anything.
type Tap struct {
	fd          int // a duplicate of net's, while open
	open, hears bool
}

// Hears reports whether Take's silence means that the network said nothing.
func (t *Tap) Hears() bool { return t.hears }

// Control is for net.Dialer.Control. It fails never: a Tap that cannot listen hears nothing.
func (t *Tap) Control(_, _ string, c syscall.RawConn) error {
	t.release() // net may try more than one socket; the last one counts
	t.hears = false
	_ = c.Control(func(fd uintptr) {
		if watchErrors(int(fd), isIPv6(int(fd))) != nil {
			return
		}
		dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			ignoreErrors(int(fd))
			return
		}
		t.fd, t.open, t.hears = dup, true, true
	})
	return nil
}

// Take returns the first thing the network said, false if it said nothing, and ends the Tap.
func (t *Tap) Take() (ICMPError, bool) {
	if !t.open {
		return ICMPError{}, false
	}
	defer t.release()
	return nextAttributed(t.fd)
}

// release gives the connection back as it was: with the option set, an ICMP error would end a
// connection that stands, against RFC 1122 section 4.2.3.9.
func (t *Tap) release() {
	if t.open {
		ignoreErrors(t.fd)
		_ = unix.Close(t.fd)
		t.open = false
	}
}

func ignoreErrors(fd int) {
	if isIPv6(fd) {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 0)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 0)
}

func onFD(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func isIPv6(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_INET6
}

// watchErrors sets both options on an IPv6 socket: it may carry IPv4 too (ipv6(7)).
func watchErrors(fd int, v6 bool) error {
	if v6 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1); err != nil {
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1)
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1)
}

// nextError also returns where the packet went that the error is about.
func nextError(fd int) (e ICMPError, about netip.AddrPort, ok bool) {
	var oob [256]byte // a cmsghdr, a sock_extended_err and a sockaddr_in6 need 60
	var data [1]byte  // without room for data, Recvmsg asks for the socket's type first
	_, n, _, to, err := unix.Recvmsg(fd, data[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return e, about, false
	}
	e, ok = errorIn(oob[:n])
	return e, addrPort(to), ok
}

// errorIn returns the error that control messages tell of.
func errorIn(control []byte) (ICMPError, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return ICMPError{}, false
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if v4 || v6 {
			return parseExtendedError(m.Data)
		}
	}
	return ICMPError{}, false
}

// parseExtendedError reads a struct sock_extended_err and the sockaddr of the offender
// behind it (linux/errqueue.h, SO_EE_OFFENDER).
func parseExtendedError(data []byte) (ICMPError, bool) {
	const size = int(unsafe.Sizeof(unix.SockExtendedErr{}))
	if len(data) < size {
		return ICMPError{}, false
	}
	ee := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
	e := ICMPError{
		Errno: syscall.Errno(ee.Errno),
		Type:  ee.Type,
		Code:  ee.Code,
		Local: ee.Origin == unix.SO_EE_ORIGIN_LOCAL,
	}
	offender := data[size:]
	switch {
	case len(offender) >= unix.SizeofSockaddrInet4 && family(offender) == unix.AF_INET:
		e.From = netip.AddrFrom4([4]byte(offender[4:8]))
	case len(offender) >= unix.SizeofSockaddrInet6 && family(offender) == unix.AF_INET6:
		e.From = netip.AddrFrom16([16]byte(offender[8:24])).Unmap()
	}
	return e, true
}

func family(sockaddr []byte) uint16 { return *(*uint16)(unsafe.Pointer(&sockaddr[0])) }
