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

// Broadcasts returns the broadcast addresses of the IPv4 networks that this machine is in (RFC 919); none if they cannot be told.
func Broadcasts() (all []netip.Addr) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() == nil || n.IP.IsLoopback() {
			continue
		}
		ip, mask := n.IP.To4(), n.Mask
		if ones, bits := mask.Size(); bits != 32 || ones > 30 { // RFC 3021: a link of two has none
			continue
		}
		last := netip.AddrFrom4([4]byte{ip[0] | ^mask[0], ip[1] | ^mask[1], ip[2] | ^mask[2], ip[3] | ^mask[3]})
		all = append(all, last)
	}
	return all
}
