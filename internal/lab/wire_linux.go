package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// join brings a device up with its addresses.
type join struct {
	Device string
	Addrs  []netip.Prefix
}

func (j *join) do() error {
	link, err := netlink.LinkByName(j.Device)
	if err != nil {
		return fmt.Errorf("find %s: %w", j.Device, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", j.Device, err)
	}
	for _, a := range j.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // usable at once: nobody else is on the link
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("give %s to %s: %w", a, j.Device, err)
		}
	}
	return nil
}

// settle waits until a device carries packets. The kernel brings a link up on both ends in its own time, and
// drops in silence what is sent before.
func settle(device string) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return fmt.Errorf("find %s: %w", device, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
	}
	return fmt.Errorf("%s has no carrier after %v", device, patience)
}

// A route leads to a prefix by way of a neighbour.
type route struct {
	To  netip.Prefix
	Via netip.Addr
}

func (r route) add() error {
	if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice()}); err != nil {
		return fmt.Errorf("route %v via %v: %w", r.To, r.Via, err)
	}
	return nil
}

// apply makes the host what c says, rules apart: what it answers, what it does there, and how.
func (c *Config) apply() error {
	for name, value := range c.Sysctls {
		file := path.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0); err != nil {
			return fmt.Errorf("set sysctl %s to %q: %w", name, value, err)
		}
	}
	for _, p := range c.Local {
		if err := answerAll(p); err != nil {
			return fmt.Errorf("answer all of %v: %w", p, err)
		}
	}
	if c.relayed() {
		if err := relay(c.Delay, c.Double); err != nil {
			return fmt.Errorf("delay or double: %w", err)
		}
	}
	return serve(c.Listen)
}

// answerAll makes each address of p one of the host's own (AnyIP, ip-route(8): type local).
func answerAll(p netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(p), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
