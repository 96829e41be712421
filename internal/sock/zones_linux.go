package sock

import (
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// zones are interface numbers by zone (RFC 4007): asking the kernel for each packet is slow.
type zones map[string]uint32

// id returns the interface number of a zone: its name's, or the number it is written as; 0 for none.
func (z zones) id(zone string) uint32 {
	if zone == "" {
		return 0
	}
	id, ok := z[zone]
	if ok {
		return id
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		id = uint32(i.Index)
	} else if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		id = uint32(n)
	}
	z[zone] = id
	return id
}

// sockaddr returns an address as system calls take it.
func (z zones) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: z.id(a.Addr().Zone())}
}
