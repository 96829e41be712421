package lab

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the relay has sent on bears its mark, lest it come back to it.
const (
	relayMark   = 1
	relayTable  = 200
	relayDevice = "relay0"
)

func (c *Config) relayed() bool { return c.Delay > 0 || c.Double }

// relay has everything that this host sends go through a device that hands it to this process
// (TUN, Linux's Documentation/networking/tuntap.rst), which sends it on late, or twice. What is sent to its own
// addresses stays clear of it: the local table comes first (ip-rule(8)).
func relay(delay time.Duration, double bool) error {
	tun, err := openTUN()
	if err != nil {
		return err
	}
	var raw [2]int // IPv4, IPv6
	for i, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if raw[i], err = rawSocket(family); err != nil {
			return err
		}
		if err := divert(family); err != nil {
			return fmt.Errorf("routes: %w", err)
		}
	}
	copies := 1
	if double {
		copies = 2
	}
	packets := make(chan packetDue, 1<<16)
	go func() {
		fmt.Fprintln(os.Stderr, "lab host: relay:", receive(tun, delay, packets))
		os.Exit(1)
	}()
	go func() {
		for p := range packets {
			time.Sleep(time.Until(p.due))
			for range copies {
				p.send(raw)
			}
		}
	}()
	return nil
}

// A packetDue is an IP packet and when it shall leave.
type packetDue struct {
	bytes []byte
	due   time.Time
}

// receive takes in what the host sends, and drops what is too much.
func receive(tun *os.File, delay time.Duration, packets chan<- packetDue) error {
	for buf := make([]byte, 1<<16); ; {
		n, err := tun.Read(buf)
		if err != nil {
			return err
		}
		select {
		case packets <- packetDue{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}:
		default:
		}
	}
}

// send sends the packet as it is. What cannot be sent is lost, as on a network; multicast is the device's
// own talk with neighbours that it does not have.
func (p packetDue) send(raw [2]int) {
	switch {
	case len(p.bytes) >= 20 && p.bytes[0]>>4 == 4:
		to := &unix.SockaddrInet4{Addr: [4]byte(p.bytes[16:20])}
		_ = unix.Sendto(raw[0], p.bytes, 0, to)
	case len(p.bytes) >= 40 && p.bytes[0]>>4 == 6 && p.bytes[24] != 0xff:
		to := &unix.SockaddrInet6{Addr: [16]byte(p.bytes[24:40])}
		_ = unix.Sendto(raw[1], p.bytes, 0, to)
	}
}

// openTUN makes the device. It goes with the descriptor.
func openTUN() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(relayDevice)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	link, err := netlink.LinkByName(relayDevice)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetTxQLen(link, 1<<16); err != nil {
		return nil, fmt.Errorf("lengthen the queue of %s: %w", relayDevice, err)
	}
	return os.NewFile(uintptr(fd), relayDevice), bringUp(relayDevice)
}

// rawSocket sends packets with the headers that they have (raw(7)), marked, by the routes of the main table.
func rawSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, fmt.Errorf("raw socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, relayMark); err != nil {
		return 0, fmt.Errorf("mark: %w", err)
	}
	return fd, nil
}

// divert routes what this host itself sends, and nobody has marked, to the relay. What it forwards came in
// by a device other than lo, and goes its way.
func divert(family int) error {
	link, err := netlink.LinkByName(relayDevice)
	if err != nil {
		return err
	}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if family == unix.AF_INET6 {
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: all, Table: relayTable}); err != nil {
		return err
	}
	marked, own := netlink.NewRule(), netlink.NewRule()
	marked.Family, marked.Priority, marked.Mark, marked.Table = family, 100, relayMark, unix.RT_TABLE_MAIN
	own.Family, own.Priority, own.IifName, own.Table = family, 200, "lo", relayTable
	for _, rule := range []*netlink.Rule{marked, own} {
		if err := netlink.RuleAdd(rule); err != nil {
			return err
		}
	}
	return nil
}
