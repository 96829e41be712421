package sock

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/windows"
)

var errNoInfo = errors.New("on windows a datagram does not say here which address it was sent to; bind one address to reply from it")

// A batch here is one datagram: the portable calls of package net.
type batch struct{ buf []byte }

func (b *batch) open(_ *net.UDPConn, _ netip.AddrPort, size int) error {
	b.buf = make([]byte, size)
	return errNoInfo
}

func (b *batch) read(conn *net.UDPConn, local netip.AddrPort, ds []Datagram) (int, error) {
	n, _, _, from, err := conn.ReadMsgUDPAddrPort(b.buf, nil)
	truncated := errors.Is(err, windows.WSAEMSGSIZE)
	if err != nil && !truncated {
		return 0, err
	}
	ds[0] = Datagram{Peer: unmapped(from), Data: b.buf[:n], Truncated: truncated}
	if !local.Addr().IsUnspecified() {
		ds[0].Local = local
	}
	return 1, nil
}

func (b *batch) write(conn *net.UDPConn, ds []Datagram) (int, error) {
	if _, err := conn.WriteToUDPAddrPort(ds[0].Data, ds[0].Peer); err != nil {
		return 0, err
	}
	return 1, nil
}
