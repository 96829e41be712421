package sock

import (
	"fmt"
	"net/netip"
)

// NeighborState is what the kernel knows of an address on a link of this machine: whether
// somebody answered when it asked for the address's owner by ARP or NDP.
type NeighborState uint8

// The states. A static entry (PERMANENT) is the administrator's word and proves nothing: it counts as unknown.
const (
	NeighborUnknown   NeighborState = iota // not in the table, or in it without proof
	NeighborFailed                         // was asked for, and nobody has answered (FAILED, INCOMPLETE)
	NeighborReachable                      // somebody there answered, lately if not now (REACHABLE, STALE, DELAY, PROBE)
)

var neighborNames = [...]string{"unknown", "failed", "reachable"}

// String returns the state in lower case.
func (s NeighborState) String() string {
	if int(s) < len(neighborNames) {
		return neighborNames[s]
	}
	return fmt.Sprintf("neighbor(%d)", uint8(s))
}

// Neighbors is the kernel's neighbour table at one moment, by address. It holds neighbours only: an
// address behind a router is not in it. An address on several links has the best of its states. Link-local
// addresses (RFC 4007) stand under each name that a zone goes by, the interface's name and its number: fe80::1%eth0 and fe80::1%2.
type Neighbors map[netip.Addr]NeighborState

// put notes one entry of the table.
func (n Neighbors) put(addr netip.Addr, s NeighborState) {
	if s > n[addr] {
		n[addr] = s
	}
}
