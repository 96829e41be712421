package dial

import "net/netip"

// The most bytes one datagram carries: 65,535, the largest length field, less the headers
// it counts: UDP's 8 (RFC 768), and IPv4's 20 (RFC 791), which IPv6's does not (RFC 8200).
const (
	maxPayload4 = 65535 - 20 - 8
	maxPayload6 = 65535 - 8
)

// MaxPayload returns the most bytes one datagram to addr can carry.
func MaxPayload(addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return maxPayload4
	}
	return maxPayload6
}
