package sock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Raw sends whole IP packets of both families, which the kernel routes, and hears those that come in before a
// firewall of this machine sees them. One goroutine may send while another receives; SetReadDeadline, Lost and Close may be called at
// any time.
type Raw struct {
	four, six rawSender

	file   *os.File // the packet socket
	conn   syscall.RawConn
	where  string // what it hears, for errors
	ring   ring
	lost   atomic.Uint64
	closed atomic.Bool
}

// OpenRaw opens a Raw, which takes CAP_NET_RAW: without it the error is os.ErrPermission. A family that this machine does not have
// is told when it is sent to. The caller closes it.
func OpenRaw(c RawConfig) (*Raw, error) {
	r := &Raw{where: "all interfaces"}
	index := 0
	if c.Interface != "" {
		i, err := net.InterfaceByName(c.Interface)
		if err != nil {
			return nil, fmt.Errorf("find interface %s: %w", c.Interface, err)
		}
		r.where, index = c.Interface, i.Index
	}
	err := r.four.open(unix.AF_INET, c.Interface, c.Source4)
	if err == nil {
		err = r.six.open(unix.AF_INET6, c.Interface, c.Source6)
	}
	if err == nil && r.four.file == nil && r.six.file == nil {
		err = fmt.Errorf("open raw socket: %w", r.four.absent)
	}
	if err == nil {
		err = r.listen(c, index)
	}
	if err != nil {
		r.four.close()
		r.six.close()
		return nil, err
	}
	return r, nil
}

// listen opens the packet socket.
func (r *Raw) listen(c RawConfig, index int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", os.NewSyscallError("socket", err))
	}
	if err := r.prepare(fd, c, index); err != nil {
		r.ring.unmap()
		_ = unix.Close(fd)
		return fmt.Errorf("hear packets on %s: %w", r.where, err)
	}
	r.file = os.NewFile(uintptr(fd), "packet")
	r.conn, err = r.file.SyscallConn()
	if err != nil {
		_ = r.file.Close()
		r.ring.unmap()
	}
	return err
}

// prepare makes the socket hear. It has no protocol, and hears nothing, until the last step (packet(7)).
func (r *Raw) prepare(fd int, c RawConfig, index int) error {
	if err := attachFilter(fd, c.First, c.Last); err != nil {
		return err
	}
	// What we send would be heard, too; the filter leaves it out as well, but later.
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err := r.ring.open(fd, c.Ring); err != nil {
		return err
	}
	all := uint16(unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8) // in network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return pendingError(fd) // an interface that is down is no error of bind's
}

// pendingError takes the error that a socket has waiting.
func pendingError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || errno == 0 {
		return err
	}
	return syscall.Errno(errno)
}

// SetReadDeadline bounds Receive, the one that waits too. The zero time takes the bound away.
func (r *Raw) SetReadDeadline(t time.Time) error { return r.file.SetReadDeadline(t) }

// Receive calls hear for each packet that comes in, with the interface that it came by and the time when the kernel got it, until the deadline
// (os.ErrDeadlineExceeded), Close (os.ErrClosed), or an interface that goes down. At the deadline all has been heard that came more
// than RawLag before.
//
// These are TCP packets for the ports of the RawConfig and ICMP and ICMPv6 errors; now and then there may be others, IPv6
// packets with extension headers for one. A packet begins at its IP header and is whole, or cut at RawSnap. It is the ring's, and valid
// during the call. Its TCP checksum may be unfinished, if it comes from this machine or a virtual one, and need not be
// right. hear must not call Close.
func (r *Raw) Receive(hear func(packet []byte, iface int, at time.Time)) error {
	var failed error
	next := func(fd uintptr) bool {
		if r.ring.take(hear) {
			return true
		}
		failed = pendingError(int(fd))
		return failed != nil
	}
	for {
		err := r.conn.Read(next)
		switch {
		case r.closed.Load():
			return os.ErrClosed
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = r.conn.Control(func(uintptr) { r.ring.drain(hear) })
			return err
		case err != nil || failed != nil:
			return fmt.Errorf("hear packets on %s: %w", r.where, errors.Join(err, failed))
		}
	}
}

// Lost returns how many packets the kernel has thrown away so far because the ring was full (packet(7), PACKET_STATISTICS).
func (r *Raw) Lost() uint64 {
	_ = r.conn.Control(func(fd uintptr) {
		// What is read is set to zero.
		if stats, err := unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.lost.Add(uint64(stats.Drops))
		}
	})
	return r.lost.Load()
}

// Close closes the sockets. It waits until Receive has done with the block of packets that it is at.
func (r *Raw) Close() error {
	if r.closed.Swap(true) {
		return os.ErrClosed
	}
	_ = r.Lost()
	err := r.file.Close()
	r.ring.unmap()
	r.four.close()
	r.six.close()
	return err
}

// Send sends packets, each as it is from its IP header on, and does not wait. It returns how many left. An error is about
// batch[n], of which nothing was sent, and is an errno as it came: EAGAIN and ENOBUFS when there are too many under way,
// EPERM for a rule of this machine's firewall, ENETUNREACH, EAFNOSUPPORT where its family is absent, EINVAL for what is no
// packet. The kernel fills in IPv4's checksum and length, and an identification of zero.
func (r *Raw) Send(batch [][]byte) (n int, err error) { return r.SendOn(0, batch) }

// SendOn is Send by the interface with that index for packets to link-local IPv6 addresses, which need one (RFC 4007) unless the
// RawConfig has it.
func (r *Raw) SendOn(index int, batch [][]byte) (n int, err error) {
	for n < len(batch) {
		s := r.sender(batch[n])
		if s == nil {
			return n, unix.EINVAL
		}
		sent, err := s.send(batch[n:], uint32(index))
		n += sent
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// sender returns the socket for a packet, nil if it is none.
func (r *Raw) sender(packet []byte) *rawSender {
	for _, s := range []*rawSender{&r.four, &r.six} {
		if s.takes(packet) {
			return s
		}
	}
	return nil
}

// noSuchFamily reports whether err says that this machine does not have a family.
func noSuchFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT)
}
