// Package socktest provides an in-memory network of datagram sockets, for tests without packets.
//
// Its Conns have the methods of sock.UDP. They use channels and timers only, so that a test
// under testing/synctest owns the clock. As on a real network a datagram without a
// listener, or for a full queue, is lost in silence, and a source address can be forged.
package socktest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"sonde/internal/sock"
)

// queueLength is how many datagrams wait at a Conn before more are lost.
const queueLength = 1024

// A Network joins Conns. Its fields are set before it is used.
type Network struct {
	Delay time.Duration // how long a datagram travels; 0 arrives at once

	mu      sync.Mutex
	conns   map[netip.AddrPort]*Conn
	carried int
}

// Listen adds a Conn at addr. A wildcard address hears what is sent to any address of its port.
func (n *Network) Listen(addr netip.AddrPort) (*Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.conns[addr]; taken {
		return nil, fmt.Errorf("listen %v: address in use", addr)
	}
	if n.conns == nil {
		n.conns = make(map[netip.AddrPort]*Conn)
	}
	c := &Conn{network: n, local: addr, queue: make(chan sock.Datagram, queueLength), closed: make(chan struct{}), changed: make(chan struct{})}
	n.conns[addr] = c
	return c, nil
}

// Send carries one datagram from any source address, a forged one too.
func (n *Network) Send(from, to netip.AddrPort, data []byte) {
	d := sock.Datagram{Peer: from, Local: to, ToMany: toMany(to.Addr()), Data: bytes.Clone(data)}
	if n.Delay == 0 {
		n.deliver(d)
		return
	}
	time.AfterFunc(n.Delay, func() { n.deliver(d) })
}

// Carried returns how many datagrams were sent so far.
func (n *Network) Carried() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.carried
}

func (n *Network) deliver(d sock.Datagram) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.carried++
	c := n.conns[d.Local]
	for _, wildcard := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if c == nil {
			c = n.conns[netip.AddrPortFrom(wildcard, d.Local.Port())]
		}
	}
	if c == nil {
		return
	}
	select {
	case c.queue <- d:
	default:
	}
}

func toMany(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// A Conn is one socket of a Network.
type Conn struct {
	network *Network
	local   netip.AddrPort
	queue   chan sock.Datagram

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // closed when the deadline is
	closed   chan struct{}
	isClosed bool
}

// LocalAddr returns the address that is bound.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// ReadBatch waits for datagrams and returns how many came. Their Data is the caller's.
func (c *Conn) ReadBatch(ds []sock.Datagram) (int, error) {
	for {
		deadline, changed := c.readDeadline()
		expired, stop := after(deadline)
		select {
		case d := <-c.queue:
			stop()
			ds[0] = d
			return 1 + c.more(ds[1:]), nil
		case <-expired:
			return 0, &net.OpError{Op: "read", Net: "udp", Err: os.ErrDeadlineExceeded}
		case <-changed:
			stop()
		case <-c.closed:
			stop()
			return 0, &net.OpError{Op: "read", Net: "udp", Err: net.ErrClosed}
		}
	}
}

func (c *Conn) more(ds []sock.Datagram) int {
	for i := range ds {
		select {
		case ds[i] = <-c.queue:
		default:
			return i
		}
	}
	return len(ds)
}

// WriteBatch sends each datagram to its Peer, from its Local if that is valid.
func (c *Conn) WriteBatch(ds []sock.Datagram) (int, error) {
	select {
	case <-c.closed:
		return 0, &net.OpError{Op: "write", Net: "udp", Err: net.ErrClosed}
	default:
	}
	for _, d := range ds {
		from := c.local
		if d.Local.IsValid() {
			from = netip.AddrPortFrom(d.Local.Addr(), c.local.Port())
		}
		c.network.Send(from, d.Peer, d.Data)
	}
	return len(ds), nil
}

// SetReadDeadline bounds ReadBatch, the one that waits too. The zero time takes the bound away.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// Close takes the Conn off the network. A ReadBatch that waits returns net.ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return net.ErrClosed
	}
	c.isClosed = true
	close(c.closed)
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	delete(c.network.conns, c.local)
	return nil
}

func (c *Conn) readDeadline() (time.Time, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline, c.changed
}

// after returns a channel that receives at t, and never for the zero time. stop lets go of it.
func after(t time.Time) (<-chan time.Time, func()) {
	if t.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(time.Until(t))
	return timer.C, func() { timer.Stop() }
}
