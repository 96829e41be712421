package sock

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A rawSender sends IP packets of one family with the headers that they have (raw(7), IPPROTO_RAW; for IPv6 this is Linux's own).
// What its system call reads lies ready, so that sending allocates nothing. One goroutine uses it.
type rawSender struct {
	file   *os.File // nil: the family is absent
	absent error    // then, why
	conn   syscall.RawConn

	version byte // of its packets
	header  int  // their shortest header
	address int  // where in it the destination is

	messages [RawBatch]unix.Mmsghdr
	parts    [RawBatch]unix.Iovec
	to       [RawBatch]unix.RawSockaddrInet6 // or, in the same place, RawSockaddrInet4

	call  func(fd uintptr) // sends the first of messages
	ready int              // so many
	sent  int
	errno syscall.Errno
}

// open opens the socket. That the family is absent is no error.
func (s *rawSender) open(domain int, iface string, source netip.Addr) error {
	s.version, s.header, s.address = 4, 20, 16 // RFC 791 section 3.1
	if domain == unix.AF_INET6 {
		s.version, s.header, s.address = 6, 40, 24 // RFC 8200 section 3
	}
	// It is none that the runtime waits for: epoll would wake a thread for each packet that has left, which takes longer than to
	// send it. MSG_DONTWAIT does not wait all the same.
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if noSuchFamily(err) {
		s.absent = err
		return nil
	}
	if err != nil {
		return fmt.Errorf("open raw socket: %w", os.NewSyscallError("socket", err))
	}
	if err := prepareRaw(fd, domain, iface, source); err != nil {
		_ = unix.Close(fd)
		return err
	}
	s.file = os.NewFile(uintptr(fd), "raw")
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return err
	}
	s.lay(uint16(domain))
	return nil
}

func prepareRaw(fd, domain int, iface string, source netip.Addr) error {
	// Without it the kernel keeps to itself that a device's queue was full (raw_send_hdrinc, rawv6_send_hdrinc).
	if err := watchErrors(fd, domain == unix.AF_INET6); err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	// What waits for a neighbour's link address counts as unsent for three seconds, so that a small buffer would let the dead
	// hold up the living. The first is root's, the second as far as the system lets it (socket(7)).
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, rawSendBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, rawSendBuffer)
	}
	if iface != "" {
		if err := unix.BindToDevice(fd, iface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", iface, err)
		}
	}
	if !source.IsValid() {
		return nil
	}
	if err := unix.Bind(fd, zones{}.sockaddr(netip.AddrPortFrom(source.Unmap(), 0))); err != nil {
		return fmt.Errorf("bind to source %s: %w", source, os.NewSyscallError("bind", err))
	}
	return nil
}

// rawSendBuffer is how much may be under way, in bytes; the kernel counts some 800 for a short packet.
const rawSendBuffer = 8 << 20

// lay makes the messages ready but for what differs from packet to packet.
func (s *rawSender) lay(domain uint16) {
	size := uint32(unix.SizeofSockaddrInet4)
	if domain == unix.AF_INET6 {
		size = unix.SizeofSockaddrInet6
	}
	for i := range s.messages {
		s.to[i].Family = domain
		h := &s.messages[i].Hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.to[i])), size
		h.Iov = &s.parts[i]
		h.SetIovlen(1)
	}
	s.call = func(fd uintptr) {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.messages)), uintptr(s.ready), unix.MSG_DONTWAIT, 0, 0)
		s.sent, s.errno = int(n), errno
		if errno != 0 {
			s.sent = 0
		}
	}
}

// takes reports whether this is a packet of the family, as far as one must know to send it.
func (s *rawSender) takes(packet []byte) bool {
	return len(packet) >= s.header && packet[0]>>4 == s.version
}

// send sends the first of batch, as many as belong to the family and fit into one system call. scope is the interface for
// link-local addresses.
func (s *rawSender) send(batch [][]byte, scope uint32) (int, error) {
	if s.file == nil {
		return 0, s.absent
	}
	s.ready = 0
	for _, packet := range batch[:min(len(batch), RawBatch)] {
		if !s.takes(packet) {
			break
		}
		s.put(packet, scope)
	}
	for {
		if err := s.conn.Control(s.call); err != nil {
			return 0, os.ErrClosed
		}
		switch s.errno {
		case 0:
			return s.sent, nil
		case unix.EINTR:
		default:
			return 0, s.errno
		}
	}
}

func (s *rawSender) put(packet []byte, scope uint32) {
	i := s.ready
	s.parts[i].Base = &packet[0]
	s.parts[i].SetLen(len(packet))
	if s.version == 4 {
		copy((*unix.RawSockaddrInet4)(unsafe.Pointer(&s.to[i])).Addr[:], packet[s.address:])
	} else {
		copy(s.to[i].Addr[:], packet[s.address:])
		s.to[i].Scope_id = scope
	}
	s.ready++
}

func (s *rawSender) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
