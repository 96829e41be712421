package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An outbox is what sendmmsg(2) reads. All lies ready, so that a datagram costs no allocation. One goroutine uses it at a time.
//
// Datagrams of one size for one peer are one message: the kernel takes it through routing, firewall and device as one packet
// and cuts it where it must (udp(7), UDP_SEGMENT). On loopback that halves the cost of a reply, and more.
type outbox struct {
	headers [MaxBatch]unix.Mmsghdr
	parts   [MaxBatch]unix.Iovec
	to      [MaxBatch]unix.RawSockaddrInet6 // or, in the same place, RawSockaddrInet4
	control [MaxBatch][controlSize / 8]uint64
	runs    [MaxBatch]int // how many datagrams a message has
	sorted  [MaxBatch]Datagram
	zones   zones

	socket *udpSocket
	waited bool                          // for room in the socket's queue, in this WriteBatch
	send   func([]Datagram) (int, error) // some, as sendAll wants it
	call   func(fd uintptr)              // sends the first of headers
	ready  int                           // so many
	sent   int
	errno  syscall.Errno
}

const (
	// maxSegment is the size up to which datagrams are sent as one message: they must fit the path's packets, and
	// every IPv6 path takes 1,280 bytes (RFC 8200 section 5), headers included.
	maxSegment = 1280 - 40 - 8
	// maxSegments is how many may be (linux/udp.h, UDP_MAX_SEGMENTS before 6.9). So many of the largest would be more than an IP packet holds.
	maxSegments = 64
	maxTogether = 65507 // bytes of them all
	// roomWait is how long a full queue is waited for, in milliseconds. A reply that waited longer is better lost.
	roomWait = 100
)

// outboxes are shared by all sockets: most have nothing to send.
var outboxes = sync.Pool{New: func() any { return newOutbox() }}

func newOutbox() *outbox {
	o := &outbox{zones: zones{}}
	for i := range o.headers {
		o.headers[i].Hdr.Name = (*byte)(unsafe.Pointer(&o.to[i]))
	}
	o.call = func(fd uintptr) {
		// It does not wait, so the scheduler need not be told of it.
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.headers)), uintptr(o.ready), unix.MSG_DONTWAIT, 0, 0)
		o.sent, o.errno = int(n), errno
	}
	o.send = o.sendSome
	return o
}

// writeBatch sends ds in the order of each peer; what is for one peer may overtake what is for another.
func (s *udpSocket) writeBatch(_ *UDP, ds []Datagram) (sent int, err error) {
	o := outboxes.Get().(*outbox)
	o.socket, o.waited = s, false
	for len(ds) > 0 {
		part := ds[:min(len(ds), MaxBatch)]
		n, failed := sendAll(o.sort(part), o.send)
		sent += n
		if err == nil {
			err = failed
		}
		ds = ds[len(part):]
	}
	clear(o.sorted[:]) // whose Data is not ours to keep
	o.socket = nil
	outboxes.Put(o)
	return sent, err
}

// sort returns ds with the datagrams of each peer together.
func (o *outbox) sort(ds []Datagram) []Datagram {
	var last [2 * MaxBatch]uint8 // by hash of the peer: one more than the place of its last datagram
	var next, first [MaxBatch]uint8
	peers := 0
	for i := range ds {
		slot := peerHash(ds[i].Peer) % len(last)
		for last[slot] != 0 && ds[last[slot]-1].Peer != ds[i].Peer {
			slot = (slot + 1) % len(last)
		}
		if before := last[slot]; before != 0 {
			next[before-1] = uint8(i)
		} else {
			first[peers] = uint8(i)
			peers++
		}
		last[slot] = uint8(i + 1)
	}
	if peers == len(ds) {
		return o.sorted[:copy(o.sorted[:], ds)]
	}
	n := 0
	for _, i := range first[:peers] {
		for {
			o.sorted[n] = ds[i]
			n++
			if i = next[i]; i == 0 { // nobody's next is the very first
				break
			}
		}
	}
	return o.sorted[:n]
}

// peerHash tells peers apart, most of them.
func peerHash(p netip.AddrPort) int {
	a := p.Addr().As16()
	return int((binary.LittleEndian.Uint32(a[12:])*0x9e3779b1 ^ uint32(p.Port())*0x85ebca6b) >> 16)
}

// sendSome sends the first of ds, as many as one call of sendmmsg takes, and returns how many datagrams that were.
func (o *outbox) sendSome(ds []Datagram) (int, error) {
	single := o.socket.single.Load()
	o.lay(ds, single)
	errno := o.sendLaid()
	if errno != 0 && o.runs[0] > 1 { // is it that they are together?
		o.lay(ds[:o.runs[0]], true)
		together := errno
		errno = o.sendLaid()
		if errno == 0 && cannotCut(together) {
			o.socket.single.Store(true)
		}
	}
	if errno != 0 {
		if errno == unix.EBADF {
			return 0, net.ErrClosed
		}
		return 0, os.NewSyscallError("sendmmsg", errno)
	}
	n := 0
	for _, run := range o.runs[:o.sent] {
		n += run
	}
	return n, nil
}

// cannotCut reports whether the kernel or the device refuses to cut a message up (udp_send_skb).
func cannotCut(errno syscall.Errno) bool {
	return errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE || errno == unix.EOPNOTSUPP
}

// sendLaid sends what is laid ready. Nothing is sent if it returns an error.
func (o *outbox) sendLaid() syscall.Errno {
	for {
		if o.socket.conn.Control(o.call) != nil {
			return unix.EBADF
		}
		switch {
		case o.errno == unix.EINTR:
		case o.errno == unix.EAGAIN && !o.waited:
			o.waited = true
			_ = o.socket.control(func(fd int) error {
				_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, roomWait)
				return err
			})
		default:
			return o.errno
		}
	}
}

// lay makes messages of ds, which a single says that each is to be one of.
func (o *outbox) lay(ds []Datagram, single bool) {
	o.ready = 0
	for at := 0; at < len(ds); o.ready++ {
		run := 1
		if !single {
			run = together(ds[at:])
		}
		for i := range ds[at : at+run] {
			d, p := &ds[at+i], &o.parts[at+i]
			p.Base = unsafe.SliceData(d.Data)
			p.SetLen(len(d.Data))
		}
		o.address(&ds[at], run)
		h := &o.headers[o.ready].Hdr
		h.Iov = &o.parts[at]
		h.SetIovlen(run)
		o.runs[o.ready] = run
		at += run
	}
}

// together returns how many of the first can be one message: they are of one size, and the last may be shorter.
func together(ds []Datagram) int {
	first, size := &ds[0], len(ds[0].Data)
	if size == 0 || size > maxSegment {
		return 1
	}
	most := min(len(ds), maxSegments, maxTogether/size)
	for n := 1; n < most; n++ {
		d := &ds[n]
		if len(d.Data) == 0 || len(d.Data) > size || d.Peer != first.Peer || d.Local != first.Local {
			return n
		}
		if len(d.Data) < size {
			return n + 1
		}
	}
	return most
}

// address writes whom the next message is for, where it leaves from and where it is to be cut.
func (o *outbox) address(d *Datagram, run int) {
	h, to := &o.headers[o.ready].Hdr, &o.to[o.ready]
	port := (*[2]byte)(unsafe.Pointer(&to.Port))
	peer := d.Peer.Addr()
	if peer.Is4() {
		to.Family, h.Namelen = unix.AF_INET, unix.SizeofSockaddrInet4
		(*unix.RawSockaddrInet4)(unsafe.Pointer(to)).Addr = peer.As4()
	} else {
		to.Family, h.Namelen = unix.AF_INET6, unix.SizeofSockaddrInet6
		to.Addr, to.Scope_id, to.Flowinfo = peer.As16(), o.zones.id(peer.Zone()), 0
	}
	binary.BigEndian.PutUint16(port[:], d.Peer.Port())
	control := controls{room: unsafe.Slice((*byte)(unsafe.Pointer(&o.control[o.ready])), controlSize)}
	switch from := d.Local.Addr(); {
	case !o.socket.wildcard || !from.IsValid() || from.IsUnspecified():
	case from.Is4():
		info := (*unix.Inet4Pktinfo)(control.add(unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo))
		*info = unix.Inet4Pktinfo{Spec_dst: from.As4()}
	default:
		info := (*unix.Inet6Pktinfo)(control.add(unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo))
		*info = unix.Inet6Pktinfo{Addr: from.As16()}
	}
	if run > 1 {
		*(*uint16)(control.add(unix.SOL_UDP, unix.UDP_SEGMENT, 2)) = uint16(len(d.Data))
	}
	h.Control = nil
	if control.used > 0 {
		h.Control = &control.room[0]
	}
	h.SetControllen(control.used)
}

// controls are the control messages of a datagram (cmsg(3)).
type controls struct {
	room []byte
	used int
}

// add adds one with size bytes of data, and returns where they go.
func (c *controls) add(level, kind, size int) unsafe.Pointer {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.room[c.used]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(size))
	data := unsafe.Pointer(&c.room[c.used+unix.CmsgLen(0)])
	c.used += unix.CmsgSpace(size)
	return data
}
