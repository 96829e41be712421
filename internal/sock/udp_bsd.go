//go:build unix && !linux

package sock

import "net/netip"

// isDirectedBroadcast cannot be told here without asking for every interface's addresses. A
// reply to such a datagram would have to leave from a broadcast address, which the system refuses.
func isDirectedBroadcast(netip.Addr, []byte) bool { return false }
