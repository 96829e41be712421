package sock

import (
	"net"
	"net/netip"
	"syscall"
)

// An ICMPError is a network's complaint about something this socket sent, as the
// kernel keeps it in the socket's error queue (ip(7), IP_RECVERR). A TCP reset never
// leaves one, which is how a host's refusal is told from a firewall's.
type ICMPError struct {
	Errno      syscall.Errno
	Type, Code uint8      // RFC 792 for IPv4, RFC 4443 for IPv6
	From       netip.Addr // who sent the message; invalid where the kernel does not say
	Local      bool       // this machine said it: no neighbour, no route, a firewall of our own
}

// OwnAddrs returns the addresses of this machine's interfaces, without zones.
func OwnAddrs() (map[netip.Addr]bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	own := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own[ip.Unmap()] = true
			}
		}
	}
	return own, nil
}
