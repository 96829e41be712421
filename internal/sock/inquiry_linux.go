package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An Inquiry is a UDP socket of one family that asks many and hears who answers, who refuses and who refused
// on whose behalf: it is not connected, and its error queue is read (ip(7), IP_RECVERR). It needs no privileges. One
// goroutine may send while another reads; SetReadDeadline and Close may be called at any time.
type Inquiry struct {
	file  *os.File
	conn  syscall.RawConn
	v6    bool
	local netip.AddrPort
	room  int

	// mu keeps the reader from the error queue while something is sent: taking an entry off it makes the next
	// entry's error the pending one (sock_dequeue_err_skb in the kernel), and a pending error fails a send.
	mu      sync.Mutex
	zones   zones // interface numbers by zone, and back: asking the kernel for each datagram is slow
	names   map[uint32]string
	in      [MaxBatch][]byte
	oob     []byte
	dropped uint32
}

// sendTries is how often a datagram is sent again when what came back was an earlier one's error.
const sendTries = 8

// NewInquiry opens a socket of one family on a port that nobody else has. source, if valid, is where datagrams come
// from, iface, if not empty, the only interface they leave by. The caller closes it.
func NewInquiry(v6 bool, source netip.Addr, iface string) (*Inquiry, error) {
	q := &Inquiry{v6: v6, zones: zones{}, names: map[uint32]string{}, oob: make([]byte, 512)}
	for i := range q.in {
		q.in[i] = make([]byte, InquiryBuffer)
	}
	domain := unix.AF_INET
	if v6 {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket: %w", os.NewSyscallError("socket", err))
	}
	if err := q.prepare(fd, source, iface); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	q.file = os.NewFile(uintptr(fd), "udp")
	if q.conn, err = q.file.SyscallConn(); err != nil {
		_ = q.file.Close()
		return nil, fmt.Errorf("open a UDP socket: %w", err)
	}
	return q, nil
}

// prepare sets the socket's options and binds it.
func (q *Inquiry) prepare(fd int, source netip.Addr, iface string) error {
	any := netip.IPv4Unspecified()
	ttl := [2]int{unix.SOL_IP, unix.IP_RECVTTL}
	if q.v6 {
		any = netip.IPv6Unspecified()
		ttl = [2]int{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT}
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
	}
	// Without these the evidence is less, the verdict the same.
	_ = watchErrors(fd, q.v6)
	_ = unix.SetsockoptInt(fd, ttl[0], ttl[1], 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	// What waits for a neighbour's link address counts as unsent for three seconds, so that a small buffer would let the dead
	// hold up the living. The first is root's, the second as far as the system lets it (socket(7)).
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], receiveBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], receiveBuffer)
		}
	}
	q.room, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if iface != "" {
		if err := unix.BindToDevice(fd, iface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", iface, err)
		}
	}
	if !source.IsValid() {
		source = any
	}
	if err := unix.Bind(fd, q.sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to source %s: %w", source, os.NewSyscallError("bind", err))
	}
	var err error
	q.local, err = localAddr(fd)
	return err
}

// LocalAddr returns the address that is bound.
func (q *Inquiry) LocalAddr() netip.AddrPort { return q.local }

// Room returns how many answers may come at once without one getting lost.
func (q *Inquiry) Room() int { return max(1, q.room/leastAnswerRoom) }

// SetReadDeadline bounds Read, the one that waits too. The zero time takes the bound away.
func (q *Inquiry) SetReadDeadline(t time.Time) error { return q.file.SetReadDeadline(t) }

// Close closes the socket. A Read that waits returns an error.
func (q *Inquiry) Close() error { return q.file.Close() }

// Send sends one datagram, and does not wait. An error is this machine's own: ErrToMany, a shortage (IsLimit; a full
// buffer is one), no route, a rule of its firewall.
func (q *Inquiry) Send(to netip.AddrPort, data []byte) error {
	if to.Addr().IsMulticast() || to.Addr() == limitedBroadcast() {
		return fmt.Errorf("send to %v: %w", to, ErrToMany)
	}
	sa := q.sockaddr(to)
	var err error
	cerr := q.conn.Control(func(fd uintptr) {
		q.mu.Lock()
		defer q.mu.Unlock()
		// A send returns first what the network said of an earlier one, and sends nothing then. That is in the error
		// queue too, where Read finds it.
		for try := 0; try < sendTries; try++ {
			err = unix.Sendto(int(fd), data, 0, sa)
			if !isUnreachable(err) && !errors.Is(err, unix.EINTR) || q.toMany(err) {
				break
			}
		}
	})
	switch {
	case cerr != nil:
		return cerr
	case q.toMany(err):
		return fmt.Errorf("send to %v: %w, or a route prohibits it", to, ErrToMany)
	case err != nil:
		return fmt.Errorf("send to %v: %w", to, os.NewSyscallError("sendto", err))
	}
	return nil
}

// toMany reports whether err says that the address is a subnet's broadcast address, for which SO_BROADCAST would be
// needed (ip(7)). With IPv6 EACCES is what an ICMP error becomes.
func (q *Inquiry) toMany(err error) bool { return !q.v6 && errors.Is(err, unix.EACCES) }

// Read waits for answers and refusals, and returns how many came. An error is os.ErrDeadlineExceeded
// or a failure of this socket, one that is closed included. At the deadline nothing is left unread, unless hs is full or MaxBatch were read.
func (q *Inquiry) Read(hs []Heard) (n int, err error) {
	hs = hs[:min(len(hs), MaxBatch)]
	waited := waitToTake(q.conn, func(fd int) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		n, err = q.take(fd, hs)
		return n > 0 || err != nil
	})
	if n > 0 || err != nil {
		return n, err
	}
	return 0, waited
}

// take takes what there is without waiting, the error queue first.
func (q *Inquiry) take(fd int, hs []Heard) (n int, err error) {
	for n < len(hs) {
		size, oobn, _, to, err := unix.Recvmsg(fd, q.in[n], q.oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		if h := q.heard(q.in[n][:size], q.oob[:oobn], to); h.Refused {
			hs[n] = h
			n++
		}
	}
	for n < len(hs) {
		size, oobn, _, from, err := unix.Recvmsg(fd, q.in[n], q.oob, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			hs[n] = q.heard(q.in[n][:size], q.oob[:oobn], from)
			n++
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR), isUnreachable(err): // an error that is in the queue as well
		default:
			return n, os.NewSyscallError("recvmsg", err)
		}
	}
	return n, nil
}

// heard reads the control messages beside a datagram, or beside one that the error queue kept.
func (q *Inquiry) heard(data, oob []byte, peer unix.Sockaddr) Heard {
	h := Heard{Peer: q.addrPort(peer), Data: data}
	for len(oob) > 0 {
		header, value, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		h.read(header, value, &q.dropped)
		oob = rest
	}
	h.Dropped = q.dropped
	return h
}

func (h *Heard) read(header unix.Cmsghdr, value []byte, dropped *uint32) {
	is := func(level, kind int32) bool { return header.Level == level && header.Type == kind }
	switch {
	case is(unix.SOL_IP, unix.IP_RECVERR), is(unix.SOL_IPV6, unix.IPV6_RECVERR):
		h.Refusal, h.Refused = parseExtendedError(value)
	case len(value) < 4:
	case is(unix.SOL_IP, unix.IP_TTL), is(unix.SOL_IPV6, unix.IPV6_HOPLIMIT):
		h.TTL = uint8(binary.NativeEndian.Uint32(value))
	case is(unix.SOL_SOCKET, unix.SO_RXQ_OVFL):
		*dropped = binary.NativeEndian.Uint32(value)
	}
}

func (q *Inquiry) sockaddr(a netip.AddrPort) unix.Sockaddr {
	q.mu.Lock()
	defer q.mu.Unlock()
	if zone := a.Addr().Zone(); zone != "" {
		q.names[q.zones.id(zone)] = zone
	}
	return q.zones.sockaddr(a)
}

// addrPort is addrPort with the zone by which the address is asked.
func (q *Inquiry) addrPort(sa unix.Sockaddr) netip.AddrPort {
	a := addrPort(sa)
	if six, ok := sa.(*unix.SockaddrInet6); ok && six.ZoneId != 0 {
		return netip.AddrPortFrom(a.Addr().WithZone(q.names[six.ZoneId]), a.Port())
	}
	return a
}
