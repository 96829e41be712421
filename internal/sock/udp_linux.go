package sock

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// isDirectedBroadcast reports whether dst is a subnet's broadcast address (RFC 922). Linux
// says so in IP_PKTINFO: ipi_spec_dst, the address to reply from, is then not ipi_addr,
// the address in the header; for what was sent to us alone the two are the same (ip(7)).
func isDirectedBroadcast(dst netip.Addr, oob []byte) bool {
	if !dst.Is4() {
		return false
	}
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return false
		}
		if h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo {
			return netip.AddrFrom4([4]byte(data[4:8])) != dst
		}
		oob = rest
	}
	return false
}
