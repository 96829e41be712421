//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"
)

// An Inquiry is a UDP socket of one family that asks many and hears who answers. What the network or a host says
// instead of answering is not told to an unconnected socket here, so that a refusal looks like silence. One
// goroutine may send while another reads; SetReadDeadline and Close may be called at any time.
type Inquiry struct {
	conn *net.UDPConn
	buf  []byte
}

// room is how many answers a receive buffer of a usual size holds: 256 KB.
const room = (256 << 10) / leastAnswerRoom

// NewInquiry opens a socket of one family on a port that nobody else has. source, if valid, is where datagrams come
// from. iface must be empty: binding to an interface needs Linux. The caller closes it.
func NewInquiry(v6 bool, source netip.Addr, iface string) (*Inquiry, error) {
	if iface != "" {
		return nil, fmt.Errorf("bind to interface %s on %s: %w", iface, runtime.GOOS, errors.ErrUnsupported)
	}
	network, any := "udp4", netip.IPv4Unspecified()
	if v6 {
		network, any = "udp6", netip.IPv6Unspecified()
	}
	if !source.IsValid() {
		source = any
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)))
	if err != nil {
		return nil, fmt.Errorf("bind to source %s: %w", source, err)
	}
	return &Inquiry{conn: conn, buf: make([]byte, MaxDatagram)}, nil
}

// LocalAddr returns the address that is bound.
func (q *Inquiry) LocalAddr() netip.AddrPort {
	return unmapped(q.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

// Room returns how many answers may come at once without one getting lost.
func (q *Inquiry) Room() int { return room }

// SetReadDeadline bounds Read, the one that waits too. The zero time takes the bound away.
func (q *Inquiry) SetReadDeadline(t time.Time) error { return q.conn.SetReadDeadline(t) }

// Close closes the socket. A Read that waits returns an error.
func (q *Inquiry) Close() error { return q.conn.Close() }

// Send sends one datagram. An error is this machine's own: ErrToMany, a shortage (IsLimit), no route, a rule of its firewall.
func (q *Inquiry) Send(to netip.AddrPort, data []byte) error {
	if to.Addr().IsMulticast() || to.Addr() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("send to %v: %w", to, ErrToMany)
	}
	if _, err := q.conn.WriteToUDPAddrPort(data, to); err != nil {
		return fmt.Errorf("send to %v: %w", to, orShort(err))
	}
	return nil
}

// Read waits for an answer. An error is os.ErrDeadlineExceeded or a failure of this socket, one that is closed included.
func (q *Inquiry) Read(hs []Heard) (int, error) {
	for {
		n, from, err := q.conn.ReadFromUDPAddrPort(q.buf)
		switch {
		case err == nil || n > 0: // Windows calls it an error when the datagram was longer
			hs[0] = Heard{Peer: unmapped(from), Data: q.buf[:min(n, InquiryBuffer)]}
			return 1, nil
		case errors.Is(err, os.ErrDeadlineExceeded), !isReset(err) && !errors.Is(err, ErrHostUnreach) && !errors.Is(err, ErrNetUnreach):
			return 0, err
		}
		// Windows reports that an earlier question was refused, but not which.
	}
}
