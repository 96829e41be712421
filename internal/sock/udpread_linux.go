package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inbox is what recvmmsg(2) reads into and writes. All lies ready, so that a datagram costs no allocation. One goroutine uses it.
//
// What a peer sent in one go may arrive as one message, which tells the size to cut it at (udp(7), UDP_GRO): it went through
// the kernel as one packet, and is cut here. So a call may read more datagrams than its caller has room for; the next ones hand them over.
type inbox struct {
	headers [MaxBatch]unix.Mmsghdr
	parts   [MaxBatch]unix.Iovec
	from    [MaxBatch]unix.RawSockaddrInet6 // or, in the same place, RawSockaddrInet4
	control [MaxBatch][controlSize / 8]uint64
	buffers []byte
	scopes  scopes

	next int      // the first message that is not handed over
	rest Datagram // what is left of the message before it: all datagrams that its Data has
	cut  int      // their size, but for the last one; 0: nothing is left

	call  func(fd uintptr) // receives into headers
	got   int              // so many messages
	errno syscall.Errno
}

// controlSize is room for the control messages of a datagram: IPV6_PKTINFO and UDP_SEGMENT or UDP_GRO take 64 bytes.
const controlSize = 64

// newInbox makes buffers of size bytes. Each begins in another line of the processor's cache than the one before: those
// that begin at a multiple of a page's size would all want the same few places there.
func newInbox(size int) *inbox {
	stride := (size+63)/64*64 + 64
	b := &inbox{buffers: make([]byte, MaxBatch*stride), scopes: scopes{}}
	for i := range b.headers {
		b.parts[i].Base = &b.buffers[i*stride]
		b.parts[i].SetLen(size)
		h := &b.headers[i].Hdr
		h.Name, h.Iov, h.Control = (*byte)(unsafe.Pointer(&b.from[i])), &b.parts[i], (*byte)(unsafe.Pointer(&b.control[i]))
		h.SetIovlen(1)
	}
	b.call = func(fd uintptr) {
		// It does not wait, so the scheduler need not be told of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers)), MaxBatch, unix.MSG_DONTWAIT, 0, 0)
		if b.errno = errno; errno == 0 {
			b.got = int(n)
		}
	}
	return b
}

// read receives what u has, if nothing is left over, and hands over as much as ds takes. The error is EAGAIN if there is nothing.
func (b *inbox) read(u *UDP, ds []Datagram) (int, error) {
	if !b.left() {
		if err := b.receive(u); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(ds) && b.left() {
		if b.cut == 0 {
			b.open(u.local)
		}
		b.take(&ds[n])
		n++
	}
	return n, nil
}

// left reports whether something was received and is not handed over.
func (b *inbox) left() bool { return b.cut > 0 || b.next < b.got }

func (b *inbox) receive(u *UDP) error {
	b.next, b.got = 0, 0
	for i := range b.headers {
		b.headers[i].Hdr.Namelen = unix.SizeofSockaddrInet6
		b.headers[i].Hdr.SetControllen(controlSize)
	}
	if err := u.socket.conn.Control(b.call); err != nil {
		return net.ErrClosed
	}
	switch b.errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.EINTR:
		return unix.EAGAIN
	}
	return os.NewSyscallError("recvmmsg", b.errno)
}

// open makes the next message what is left.
func (b *inbox) open(bound netip.AddrPort) {
	m, from := &b.headers[b.next], &b.from[b.next]
	d := &b.rest
	*d = Datagram{Data: unsafe.Slice(b.parts[b.next].Base, m.Len), Truncated: m.Hdr.Flags&unix.MSG_TRUNC != 0}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&from.Port))[:])
	switch from.Family {
	case unix.AF_INET:
		d.Peer = netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(from)).Addr), port)
	case unix.AF_INET6:
		addr := netip.AddrFrom16(from.Addr).Unmap()
		if from.Scope_id != 0 {
			addr = addr.WithZone(b.scopes.name(from.Scope_id))
		}
		d.Peer = netip.AddrPortFrom(addr, port)
	}
	size := d.readInfo(bound, unsafe.Slice(m.Hdr.Control, int(m.Hdr.Controllen)))
	if size <= 0 || size > len(d.Data) {
		size = max(len(d.Data), 1)
	}
	b.cut = size
	b.next++
}

// take takes the first datagram of what is left.
func (b *inbox) take(d *Datagram) {
	*d = b.rest
	if b.cut >= len(d.Data) {
		b.cut = 0
		return
	}
	d.Data, d.Truncated = d.Data[:b.cut:b.cut], false
	b.rest.Data = b.rest.Data[b.cut:]
}

// readInfo fills in what IP_PKTINFO or IPV6_PKTINFO says: ip(7), RFC 3542 section 6. It returns the size to cut Data at; 0: it is one datagram.
func (d *Datagram) readInfo(bound netip.AddrPort, control []byte) (cut int) {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		size := int(h.Len)
		if size < unix.CmsgLen(0) || size > len(control) {
			return cut
		}
		data := control[unix.CmsgLen(0):size]
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			d.Interface = int(info.Ifindex)
			// A subnet's broadcast address (RFC 922) is not the one to reply from, ipi_spec_dst; for what was sent to us alone the two are the same (ip(7)).
			d.sentTo(netip.AddrFrom4(info.Addr), bound.Port(), info.Addr != info.Spec_dst)
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			d.Interface = int(info.Ifindex)
			d.sentTo(netip.AddrFrom16(info.Addr).Unmap(), bound.Port(), false)
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			cut = int(*(*int32)(unsafe.Pointer(&data[0])))
		}
		control = control[min(unix.CmsgSpace(len(data)), len(control)):]
	}
	return cut
}

func (d *Datagram) sentTo(addr netip.Addr, port uint16, broadcast bool) {
	d.Local = netip.AddrPortFrom(addr, port)
	d.ToMany = broadcast || addr.IsMulticast() || addr == limitedBroadcast()
}

// scopes are zones (RFC 4007) by interface number: asking the kernel for each datagram is slow.
type scopes map[uint32]string

// name returns the zone's name, or its number where the interface is gone.
func (s scopes) name(id uint32) string {
	name, ok := s[id]
	if !ok {
		name = strconv.FormatUint(uint64(id), 10)
		if i, err := net.InterfaceByIndex(int(id)); err == nil {
			name = i.Name
		}
		s[id] = name
	}
	return name
}

// addrPort returns a socket's address, or its peer's, with the zone if it has one.
func (s scopes) addrPort(sa unix.Sockaddr) netip.AddrPort {
	a := addrPort(sa)
	if six, ok := sa.(*unix.SockaddrInet6); ok && six.ZoneId != 0 {
		a = netip.AddrPortFrom(a.Addr().WithZone(s.name(six.ZoneId)), a.Port())
	}
	return a
}
