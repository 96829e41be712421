package serve

import (
	"net/netip"

	"go4.org/netipx"
)

// An Access says whose traffic is taken. The zero value takes everybody's.
type Access struct {
	Allow *netipx.IPSet // if set, nobody else
	Deny  *netipx.IPSet // nobody of these, allowed or not
}

// Permits reports whether a may talk to us. An IPv4 address in IPv6 clothes is that IPv4 address, and zones do not count.
func (a Access) Permits(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return (a.Allow == nil || a.Allow.Contains(addr)) && (a.Deny == nil || !a.Deny.Contains(addr))
}
