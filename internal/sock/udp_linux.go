package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A udpSocket is a socket that the runtime does not wait for: its epoll instance would be told of each datagram that has left, which takes
// as long as sending it. Reads wait in a Gather, one of the socket's own unless somebody else gathers it.
type udpSocket struct {
	file     *os.File // keeps the descriptor from being closed, and given to others, during a call
	conn     syscall.RawConn
	size     int         // of a receive buffer
	wildcard bool        // bound to: without it the source of what is sent is settled
	single   atomic.Bool // the kernel does not cut up what is sent: see outbox

	closed   atomic.Bool
	deadline atomic.Int64           // of a read, in nanoseconds since 1970; 0: none
	gather   atomic.Pointer[Gather] // who waits for it
	reading  sync.Mutex             // held by readBatch, and to make and end the Gather that it uses
	own      *Gather
}

func (s *udpSocket) open(addr netip.AddrPort, size int) (local netip.AddrPort, info, err error) {
	fd, err := bindUDP(addr, false)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	return s.take(fd, size)
}

// take makes fd, which is bound, the socket's own.
func (s *udpSocket) take(fd, size int) (local netip.AddrPort, info, err error) {
	s.size = size
	s.file = os.NewFile(uintptr(fd), "udp")
	if s.conn, err = s.file.SyscallConn(); err == nil {
		var name unix.Sockaddr
		if name, err = unix.Getsockname(fd); err == nil {
			local = scopes{}.addrPort(name)
		}
	}
	if err != nil {
		_ = s.file.Close()
		return local, nil, err
	}
	s.wildcard = local.Addr().IsUnspecified()
	_, err = unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	s.single.Store(err != nil) // before Linux 4.18, which would send all in one datagram
	if size == MaxDatagram {   // less would cut off what comes together
		_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) // since Linux 5.0
	}
	if err := wantInfo(fd, local.Addr().Is4()); err != nil {
		info = fmt.Errorf("this system does not say which address a datagram was sent to: %w", err)
	}
	return local, info, nil
}

// bindUDP opens a socket and binds it. shared is for those that join others of the address.
// SO_BROADCAST stays unset: so the kernel refuses to answer what a broadcast address seems to have sent.
func bindUDP(addr netip.AddrPort, shared bool) (int, error) {
	network, domain := "udp6", unix.AF_INET6
	addr = unmapped(addr)
	if addr.Addr().Is4() {
		network, domain = "udp4", unix.AF_INET
	}
	fail := func(call string, err error) error {
		return &net.OpError{Op: "listen", Net: network, Addr: net.UDPAddrFromAddrPort(addr), Err: os.NewSyscallError(call, err)}
	}
	// A blocking one, or package os would hand it to the runtime's epoll. MSG_DONTWAIT does not wait all the same.
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fail("socket", err)
	}
	if domain == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if shared {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		err = unix.Bind(fd, zones{}.sockaddr(addr))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fail("bind", err)
	}
	return fd, nil
}

// wantInfo asks for IP_PKTINFO, ip(7), or IPV6_PKTINFO, RFC 3542 section 6.
func wantInfo(fd int, four bool) error {
	if four {
		return os.NewSyscallError("setsockopt IP_PKTINFO", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1))
	}
	return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1))
}

// Sibling opens another socket on the address of u: the kernel gives each peer to one of them, always the same while none is
// opened or closed (socket(7), SO_REUSEPORT). Another ListenUDP is told all the same that the address is in use, since it binds
// without that option; only who asks for it, and is the same user, is let in from now on. The caller closes it.
func (u *UDP) Sibling() (*UDP, error) {
	err := u.socket.control(func(fd int) error {
		return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	if err != nil {
		return nil, err
	}
	fd, err := bindUDP(u.local, true)
	if err != nil {
		return nil, err
	}
	sibling := new(UDP)
	sibling.local, sibling.info, err = sibling.socket.take(fd, u.socket.size)
	return sibling, err
}

// GrowBuffer makes the kernel keep at least size bytes of datagrams that wait to be read, as it counts them, if the system lets
// it: root's may be any, others' up to twice net.core.rmem_max (socket(7)). It returns what is kept now.
func (u *UDP) GrowBuffer(size int) (now int, err error) {
	err = u.socket.control(func(fd int) error {
		now, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err != nil || now >= size {
			return err
		}
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size/2) != nil { // which the kernel doubles
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size/2)
		}
		now, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		return err
	})
	return now, os.NewSyscallError("getsockopt SO_RCVBUF", err)
}

// Drops is the function of that name. Of datagrams that came together some may count as one.
func (u *UDP) Drops() (uint32, error) { return Drops(u.socket.file) }

// control calls f with the descriptor, which stays open meanwhile.
func (s *udpSocket) control(f func(fd int) error) (err error) {
	if cerr := s.conn.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return net.ErrClosed
	}
	return err
}

func (s *udpSocket) setReadDeadline(t time.Time) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	var at int64
	if !t.IsZero() {
		at = max(t.UnixNano(), 1)
	}
	if s.deadline.Swap(at) != at {
		s.wake()
	}
	return nil
}

// wake makes whoever waits for the socket look at it.
func (s *udpSocket) wake() {
	if g := s.gather.Load(); g != nil {
		g.Wake()
	}
}

func (s *udpSocket) close() error {
	if s.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "udp", Err: net.ErrClosed}
	}
	err := s.file.Close()
	s.wake()
	s.reading.Lock() // a read that waits is over soon
	defer s.reading.Unlock()
	if s.own != nil {
		s.own.Close()
	}
	return err
}

// readBatch gathers from this socket alone.
func (s *udpSocket) readBatch(u *UDP, ds []Datagram) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	for {
		if s.closed.Load() {
			return 0, readError(net.ErrClosed)
		}
		if s.own == nil {
			var err error
			if s.own, err = newGather(s.size, []*UDP{u}); err != nil {
				return 0, readError(err)
			}
		}
		var until time.Time
		if at := s.deadline.Load(); at != 0 {
			if until = time.Unix(0, at); !time.Now().Before(until) {
				return 0, readError(os.ErrDeadlineExceeded)
			}
		}
		_, n, err := s.own.Next(ds, until)
		switch {
		case n > 0:
			return n, nil
		case !errors.Is(err, ErrWoken):
			return 0, readError(err)
		}
	}
}

func readError(err error) error { return &net.OpError{Op: "read", Net: "udp", Err: err} }
