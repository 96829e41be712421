package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// MaxDatagram is the size of a receive buffer: more than any UDP payload without IPv6
// jumbograms (65,507 bytes over IPv4, 65,527 over IPv6), so that what is whole arrives whole.
const MaxDatagram = 65536

// MaxBatch is how many datagrams one ReadBatch returns at most.
const MaxBatch = 64

// A Datagram is one UDP datagram, received or to be sent.
type Datagram struct {
	Peer      netip.AddrPort // who sent it, or whom it is for; never an IPv4 address in IPv6 clothes
	Local     netip.AddrPort // where it was sent to, and where a reply leaves from; not valid when the system does not say
	Interface int            // the index of the interface it came in by; 0 when unknown, and not used in sending
	ToMany    bool           // it was sent to a broadcast or multicast address: not to be answered
	Truncated bool           // it was longer than Data
	Data      []byte         // may be empty: a datagram of no bytes is a datagram
}

// UDP is a socket that moves datagrams in batches and knows the address each was sent to.
// One goroutine may read while another writes; SetReadDeadline and Close may be called at any time.
type UDP struct {
	local  netip.AddrPort
	info   error     // why Local is not known; nil when it is
	socket udpSocket // how this system moves them
}

// ListenUDP binds addr. A wildcard is of its own family only: IPv4 and IPv6 are two sockets,
// which keeps mapped addresses out. The caller closes the socket.
func ListenUDP(addr netip.AddrPort) (*UDP, error) {
	return listenUDP(addr, MaxDatagram)
}

// listenUDP's size is that of a receive buffer.
func listenUDP(addr netip.AddrPort, size int) (u *UDP, err error) {
	u = new(UDP)
	if u.local, u.info, err = u.socket.open(addr, size); err != nil {
		return nil, err
	}
	return u, nil
}

// PacketInfo returns nil when each Datagram tells where it was sent to, and else why it does not.
func (u *UDP) PacketInfo() error { return u.info }

// LocalAddr returns the address that is bound.
func (u *UDP) LocalAddr() netip.AddrPort { return u.local }

// SetReadDeadline bounds ReadBatch, the one that waits too. The zero time takes the bound away.
func (u *UDP) SetReadDeadline(t time.Time) error { return u.socket.setReadDeadline(t) }

// Close closes the socket. A ReadBatch that waits returns net.ErrClosed.
func (u *UDP) Close() error { return u.socket.close() }

// ReadBatch waits for datagrams and returns how many came. Their Data belongs to u and is
// valid until the next ReadBatch. An error says something of one datagram, unless it is
// net.ErrClosed or os.ErrDeadlineExceeded: the socket can be read on.
func (u *UDP) ReadBatch(ds []Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	return u.socket.readBatch(u, ds)
}

// WriteBatch sends ds, each to its Peer from its Local, and returns how many were sent. What is for
// one peer keeps its order. One that cannot be sent is skipped and the rest go on: the error then is the
// first of them, and says how many more there were.
func (u *UDP) WriteBatch(ds []Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	return u.socket.writeBatch(u, ds)
}

// sendAll sends ds by calls of send, which like sendmmsg(2) may send fewer than asked and
// stops at the first bad one.
func sendAll(ds []Datagram, send func([]Datagram) (int, error)) (sent int, err error) {
	var first error
	skipped, again := 0, false
	for len(ds) > 0 {
		n, err := send(ds)
		sent, ds = sent+n, ds[n:]
		again = again && n == 0
		switch {
		case err == nil && n > 0:
			continue
		case len(ds) == 0 || errors.Is(err, net.ErrClosed):
			return sent, err
		case isReset(err) && !again: // an earlier datagram was refused and this one not sent
			again = true
			continue
		}
		if first == nil {
			first = fmt.Errorf("send %d bytes to %v: %w", len(ds[0].Data), ds[0].Peer, orShort(err))
		}
		skipped, ds, again = skipped+1, ds[1:], false
	}
	if skipped > 1 {
		first = fmt.Errorf("%w (and %d more were not sent)", first, skipped-1)
	}
	return sent, first
}

var errNotSent = errors.New("the system did not send it and did not say why")

func orShort(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return errNotSent
	case errors.As(err, &op):
		return op.Err // the addresses are told already
	}
	return err
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// limitedBroadcast is RFC 919's 255.255.255.255.
func limitedBroadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }
