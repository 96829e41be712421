package sock

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Ping is a socket for ICMP echo (IPv4) or ICMPv6 echo. One goroutine may send while another reads;
// SetReadDeadline and Close may be called at any time.
type Ping struct {
	file  *os.File
	conn  syscall.RawConn
	v6    bool
	raw   bool
	id    uint16 // of our requests
	zones zones  // interface numbers by zone: asking the kernel for each request is slow
	out   []byte
	in    [MaxBatch][]byte
	oob   []byte
}

// The data of a request is short; a reply's is as long, and a raw socket's has an IPv4 header of at most 60 bytes.
const pingBuffer = 512

// receiveBuffer is what the kernel may keep for us, in bytes: it counts some 800 for a reply.
const receiveBuffer = 4 << 20

// pingTries is how often a request is sent again when what came back was an earlier one's error.
const pingTries = 8

// NewPing opens a socket of one family. A ping socket is enough where this process's group is in the range of
// net.ipv4.ping_group_range (icmp(7)); else it takes a raw socket, which needs root or CAP_NET_RAW. source, if
// valid, is where requests come from, iface, if not empty, the only interface they leave by. The caller closes it.
func NewPing(v6 bool, source netip.Addr, iface string) (*Ping, error) {
	p := &Ping{v6: v6, zones: zones{}, oob: make([]byte, 256)}
	for i := range p.in {
		p.in[i] = make([]byte, pingBuffer)
	}
	fd, err := p.open(unix.SOCK_DGRAM)
	if err != nil {
		p.raw = true
		fd, err = p.open(unix.SOCK_RAW)
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket for ICMP echo: %w", err)
	}
	if err := p.prepare(fd, source, iface); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	p.file = os.NewFile(uintptr(fd), "ping")
	p.conn, err = p.file.SyscallConn()
	if err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("open a socket for ICMP echo: %w", err)
	}
	return p, nil
}

func (p *Ping) open(kind int) (int, error) {
	domain, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if p.v6 {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	return fd, os.NewSyscallError("socket", err)
}

// prepare sets the socket's options and binds it.
func (p *Ping) prepare(fd int, source netip.Addr, iface string) error {
	// Without the queue or the TTL the evidence is less, the verdict the same.
	_ = watchErrors(fd, p.v6)
	if p.v6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	} else {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVTTL, 1)
	}
	if p.raw {
		p.hearRepliesOnly(fd)
	}
	// Replies to one batch of requests come together. The first is root's, the second as far as the system lets it (socket(7)).
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if iface != "" {
		if err := unix.BindToDevice(fd, iface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", iface, err)
		}
	}
	return p.bind(fd, source)
}

// hearRepliesOnly keeps away from a raw socket all ICMP that is no echo reply (raw(7); RFC 3542 section 3.2).
func (p *Ping) hearRepliesOnly(fd int) {
	if p.v6 {
		var f unix.ICMPv6Filter // a bit set blocks
		for i := range f.Data {
			f.Data[i] = ^uint32(0)
		}
		f.Data[icmp6EchoReply/32] &^= 1 << (icmp6EchoReply % 32)
		_ = unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &f)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_RAW, unix.ICMP_FILTER, int(^uint32(1<<icmpEchoReply)))
}

// bind gives the socket its source and its identifier: the kernel's choice, which is the port of a ping
// socket, or one drawn for a raw socket.
func (p *Ping) bind(fd int, source netip.Addr) error {
	if !source.IsValid() {
		source = netip.IPv4Unspecified()
		if p.v6 {
			source = netip.IPv6Unspecified()
		}
	}
	if err := unix.Bind(fd, p.zones.sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
		return fmt.Errorf("bind to source %s: %w", source, os.NewSyscallError("bind", err))
	}
	if p.raw {
		var id [2]byte
		_, _ = rand.Read(id[:]) // never fails (crypto/rand)
		p.id = binary.BigEndian.Uint16(id[:])
		return nil
	}
	local, err := localAddr(fd)
	p.id = local.Port()
	return err
}

// Raw reports whether this is a raw socket, for want of the permission to use a ping socket.
func (p *Ping) Raw() bool { return p.raw }

// SetReadDeadline bounds Read, the one that waits too. The zero time takes the bound away.
func (p *Ping) SetReadDeadline(t time.Time) error { return p.file.SetReadDeadline(t) }

// Close closes the socket. A Read that waits returns os.ErrClosed.
func (p *Ping) Close() error { return p.file.Close() }

// Send asks one address, and does not wait. An error is this machine's own:
// ErrToMany, a shortage (IsLimit; a full buffer is one), no route, a rule of its firewall.
func (p *Ping) Send(to netip.Addr, seq uint16, data []byte) error {
	if to.IsMulticast() || to == limitedBroadcast() {
		return fmt.Errorf("ping %v: %w", to, ErrToMany)
	}
	p.out = appendEcho(p.out[:0], p.v6, p.id, seq, data)
	sa := p.zones.sockaddr(netip.AddrPortFrom(to, 0))
	var err error
	werr := p.conn.Control(func(fd uintptr) {
		// A send returns first what the network said of an earlier one, and sends nothing then. That is in the
		// error queue too, where Read finds it.
		for try := 0; try < pingTries; try++ {
			if err = unix.Sendto(int(fd), p.out, 0, sa); !errors.Is(err, ErrHostUnreach) && !errors.Is(err, ErrNetUnreach) &&
				!errors.Is(err, ErrRefused) && !errors.Is(err, ErrProhibited) && !errors.Is(err, unix.EINTR) {
				break
			}
		}
	})
	switch {
	case werr != nil:
		return werr
	case errors.Is(err, unix.EACCES) && to.Is4(): // without SO_BROADCAST (ip(7))
		return fmt.Errorf("ping %v: %w, or a route prohibits it", to, ErrToMany)
	case err != nil:
		return fmt.Errorf("ping %v: %w", to, os.NewSyscallError("sendto", err))
	}
	return nil
}

// Read waits for replies and refusals, and returns how many came. What others asked is left out. An error
// is os.ErrDeadlineExceeded, os.ErrClosed, or a failure of this socket. At the deadline nothing is left
// unread, unless es is full.
func (p *Ping) Read(es []Echo) (n int, err error) {
	es = es[:min(len(es), MaxBatch)]
	waited := waitToTake(p.conn, func(fd int) bool {
		n, err = p.take(fd, es)
		return n > 0 || err != nil
	})
	if n > 0 || err != nil {
		return n, err
	}
	return 0, waited
}

// take takes what there is without waiting, the error queue first.
func (p *Ping) take(fd int, es []Echo) (n int, err error) {
	for n < len(es) {
		e, ours, more := p.nextRefusal(fd, p.in[n])
		if !more {
			break
		}
		if ours {
			es[n] = e
			n++
		}
	}
	for n < len(es) {
		size, oobn, _, from, err := unix.Recvmsg(fd, p.in[n], p.oob, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			if e, ours := p.reply(p.in[n][:size], p.oob[:oobn], from); ours {
				es[n] = e
				n++
			}
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR), isUnreachable(err): // an error that is in the queue as well
		default:
			return n, os.NewSyscallError("recvmsg", err)
		}
	}
	return n, nil
}

// isUnreachable reports whether err is what an ICMP error becomes (icmp_err_convert, icmpv6_err_convert in the kernel).
func isUnreachable(err error) bool {
	for _, said := range []error{unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ECONNREFUSED, unix.EACCES, unix.EPROTO, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.ENONET, unix.EOPNOTSUPP, unix.EMSGSIZE} {
		if errors.Is(err, said) {
			return true
		}
	}
	return false
}

// reply reads what came as the answer to a request of ours.
func (p *Ping) reply(b, oob []byte, from unix.Sockaddr) (Echo, bool) {
	kind := byte(icmp6EchoReply)
	if !p.v6 {
		kind = icmpEchoReply
		if p.raw {
			b = skipIPv4(b)
		}
	}
	id, seq, data, ok := parseEcho(b, kind)
	if !ok || id != p.id {
		return Echo{}, false
	}
	return Echo{Peer: addrPort(from).Addr(), Seq: seq, TTL: hopLimit(oob), Data: data}, true
}

// hopLimit returns what a control message says of the TTL or the hop limit.
func hopLimit(oob []byte) uint8 {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_TTL
		v6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT
		if (v4 || v6) && len(m.Data) >= 4 {
			return uint8(*(*int32)(unsafe.Pointer(&m.Data[0])))
		}
	}
	return 0
}

// nextRefusal takes the oldest entry off the error queue, false if there is none. The queue keeps the request
// that the error quotes, from its ICMP header on, and its destination (ip_icmp_error in the kernel).
func (p *Ping) nextRefusal(fd int, buf []byte) (e Echo, ours, more bool) {
	n, oobn, _, to, err := unix.Recvmsg(fd, buf, p.oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return e, false, false
	}
	messages, err := unix.ParseSocketControlMessage(p.oob[:oobn])
	if err != nil {
		return e, false, true
	}
	kind := byte(icmpEchoRequest)
	if p.v6 {
		kind = icmp6EchoRequest
	}
	id, seq, _, ok := parseEcho(buf[:n], kind)
	if !ok || id != p.id {
		return e, false, true
	}
	e = Echo{Peer: addrPort(to).Addr(), Seq: seq, Refused: true}
	for _, m := range messages {
		v4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if v4 || v6 {
			e.Refusal, ours = parseExtendedError(m.Data)
		}
	}
	return e, ours, true
}
