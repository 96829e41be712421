//go:build unix

package sock

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A queue are the clients whom a listener has not accepted, reached without a descriptor for them. The zero value knows nothing of them.
type queue struct{ raw syscall.RawConn }

func queueOf(listener any) queue {
	c, ok := listener.(syscall.Conn)
	if !ok {
		return queue{}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return queue{}
	}
	return queue{raw}
}

// await waits until somebody is there, or it is not known whether somebody is. A listener of package net cannot be waited for, only be
// looked at. The error is net.ErrClosed.
func (q queue) await() (there bool, err error) {
	if q.raw == nil {
		return true, nil
	}
	look := func(fd uintptr) bool {
		there = isReadable(int(fd))
		return there
	}
	if q.raw.Read(look) == nil {
		return true, nil
	}
	if q.raw.Control(func(fd uintptr) { look(fd) }) != nil {
		return false, net.ErrClosed
	}
	return there, nil
}

// isReadable asks poll(2), which needs no descriptor; a failed socket is readable too.
func isReadable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN)
}

// turnAway accepts the first, if one is there, and closes the connection as TurnAway does.
func (q queue) turnAway() (peer net.Addr, err error) {
	if q.raw == nil {
		return nil, errors.ErrUnsupported
	}
	closed := q.raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock() // accept4(2) is not everywhere
		defer syscall.ForkLock.RUnlock()
		var conn int
		var from unix.Sockaddr
		if conn, from, err = unix.Accept(int(fd)); err != nil {
			err = os.NewSyscallError("accept", err)
			return
		}
		_ = unix.Shutdown(conn, unix.SHUT_WR)
		_ = unix.Close(conn)
		peer = net.TCPAddrFromAddrPort(addrPort(from))
	})
	if closed != nil {
		return nil, net.ErrClosed
	}
	return peer, err
}

// addrPort returns a socket address without its zone.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
