//go:build !linux

package sock

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// A udpSocket is package net's. On these systems a batch is one datagram.
type udpSocket struct {
	conn  *net.UDPConn
	batch batch
}

func (s *udpSocket) open(addr netip.AddrPort, size int) (local netip.AddrPort, info, err error) {
	network := "udp6"
	if addr.Addr().Unmap().Is4() {
		network = "udp4"
	}
	if s.conn, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(addr)); err != nil {
		return netip.AddrPort{}, nil, err
	}
	local = unmapped(s.conn.LocalAddr().(*net.UDPAddr).AddrPort())
	return local, s.batch.open(s.conn, local, size), nil
}

func (s *udpSocket) setReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

func (s *udpSocket) close() error { return s.conn.Close() }

func (s *udpSocket) readBatch(u *UDP, ds []Datagram) (int, error) {
	return s.batch.read(s.conn, u.local, ds)
}

func (s *udpSocket) writeBatch(_ *UDP, ds []Datagram) (int, error) {
	return sendAll(ds, func(ds []Datagram) (int, error) { return s.batch.write(s.conn, ds) })
}

// Sibling would open another socket on the address of u: here it cannot.
func (u *UDP) Sibling() (*UDP, error) { return nil, errors.ErrUnsupported }

// GrowBuffer makes the kernel keep at least size bytes of datagrams that wait to be read. Here nobody says what it keeps then.
func (u *UDP) GrowBuffer(size int) (now int, err error) {
	return 0, errors.Join(u.socket.conn.SetReadBuffer(size), errors.ErrUnsupported)
}

// Drops would return how many datagrams the kernel has thrown away: here it does not say.
func (u *UDP) Drops() (uint32, error) { return 0, errors.ErrUnsupported }

// A Gather would wait for many sockets at once. Here each takes a goroutine.
type Gather struct{}

// Gathers says that this system has no Gathers.
const Gathers = false

// ErrWoken is what Next returns after Wake.
var ErrWoken = errors.New("woken")

// NewGather returns errors.ErrUnsupported.
func NewGather([]*UDP) (*Gather, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (g *Gather) Close() {}

// Wake does nothing.
func (g *Gather) Wake() {}

// Next returns errors.ErrUnsupported.
func (g *Gather) Next([]Datagram, time.Time) (place, n int, err error) {
	return -1, 0, errors.ErrUnsupported
}
