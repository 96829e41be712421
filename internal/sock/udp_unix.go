//go:build unix && !linux

package sock

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A mover is what ipv4.PacketConn and ipv6.PacketConn have in common. Here it moves one message a call.
type mover interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// A batch holds the message of one socket, each way its own.
type batch struct {
	mover   mover
	in, out []ipv4.Message
	from    source // of the datagrams sent last
}

// source is a local address as a control message tells it to sendmsg(2).
type source struct {
	addr netip.Addr
	oob  []byte
}

func (b *batch) open(conn *net.UDPConn, local netip.AddrPort, size int) error {
	var err error
	var space []byte
	if local.Addr().Is4() {
		p := ipv4.NewPacketConn(conn)
		err = p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
		b.mover, space = p, ipv4.NewControlMessage(ipv4.FlagDst|ipv4.FlagInterface)
	} else {
		p := ipv6.NewPacketConn(conn)
		err = p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
		b.mover, space = p, ipv6.NewControlMessage(ipv6.FlagDst|ipv6.FlagInterface)
	}
	b.in = []ipv4.Message{{Buffers: [][]byte{make([]byte, size)}, OOB: make([]byte, len(space))}}
	b.out = []ipv4.Message{{Buffers: make([][]byte, 1)}}
	if err != nil {
		return fmt.Errorf("this system does not say which address a datagram was sent to: %w", err)
	}
	return nil
}

func (b *batch) read(_ *net.UDPConn, local netip.AddrPort, ds []Datagram) (int, error) {
	ms := b.in[:min(len(ds), len(b.in))]
	n, err := b.mover.ReadBatch(ms, 0)
	for i := range ms[:max(n, 0)] {
		m := &ms[i]
		ds[i] = Datagram{Data: m.Buffers[0][:m.N], Truncated: m.Flags&syscall.MSG_TRUNC != 0}
		if from, ok := m.Addr.(*net.UDPAddr); ok {
			ds[i].Peer = unmapped(from.AddrPort())
		}
		ds[i].readInfo(local, m.OOB[:m.NN])
	}
	return max(n, 0), err
}

// readInfo fills in what IP_PKTINFO or IPV6_PKTINFO says: ip(7), RFC 3542 section 6.
func (d *Datagram) readInfo(bound netip.AddrPort, oob []byte) {
	var dst net.IP
	if bound.Addr().Is4() {
		var cm ipv4.ControlMessage
		if cm.Parse(oob) == nil {
			dst, d.Interface = cm.Dst, cm.IfIndex
		}
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(oob) == nil {
			dst, d.Interface = cm.Dst, cm.IfIndex
		}
	}
	addr, ok := netip.AddrFromSlice(dst)
	if !ok {
		return
	}
	addr = addr.Unmap()
	d.Local = netip.AddrPortFrom(addr, bound.Port())
	// A subnet's broadcast address cannot be told without asking for every interface's. A reply to what was
	// sent there would have to leave from it, which the system refuses.
	d.ToMany = addr.IsMulticast() || addr == limitedBroadcast()
}

func (b *batch) write(_ *net.UDPConn, ds []Datagram) (int, error) {
	ms := b.out[:min(len(ds), len(b.out))]
	for i := range ms {
		ms[i].Buffers[0] = ds[i].Data
		ms[i].Addr = net.UDPAddrFromAddrPort(ds[i].Peer)
		ms[i].OOB = b.from.control(ds[i].Local.Addr())
	}
	n, err := b.mover.WriteBatch(ms, 0)
	return max(n, 0), err
}

// control returns the control message that makes a datagram leave from addr. Replies of a
// batch mostly leave from one address, so the last is kept.
func (s *source) control(addr netip.Addr) []byte {
	switch {
	case !addr.IsValid() || addr.IsUnspecified():
		return nil
	case addr == s.addr:
		return s.oob
	case addr.Is4():
		s.oob = (&ipv4.ControlMessage{Src: addr.AsSlice()}).Marshal()
	default:
		s.oob = (&ipv6.ControlMessage{Src: addr.AsSlice()}).Marshal()
	}
	s.addr = addr
	return s.oob
}
