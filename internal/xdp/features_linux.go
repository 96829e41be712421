//go:build !mips && !mips64 && !ppc64 && !s390x

package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Available returns nil if this process can use the engine on some interface: it loads the program, attached to nothing, and has
// the kernel run it as often as it likes, which sends nothing. The error is os.ErrPermission where the kernel refuses to load it (for want of
// capabilities, or by a filter of system calls), errors.ErrUnsupported where it has no bpf(2), and ErrTooOld.
func Available() error {
	e, err := Open(Config{Ports: 1, Batch: 1, Ring: os.Getpagesize()})
	if err != nil {
		return err
	}
	return errors.Join(e.run(run{frame: frame4}), e.Close())
}

// plainly leaves out of the kernel's refusal to load anything what it was that it refused first.
func plainly(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) && (errors.Is(errno, os.ErrPermission) || errors.Is(errno, errors.ErrUnsupported)) {
		return errno
	}
	return err
}

// ReadFeatures asks the kernel about an interface, by its index. It needs no privileges.
func ReadFeatures(iface int) (Features, error) {
	l, err := netlink.LinkByIndex(iface)
	if err != nil {
		return Features{}, fmt.Errorf("find interface %d: %w", iface, err)
	}
	attrs := l.Attrs()
	f := Features{Driver: driver(attrs.Name, l.Type()), Ethernet: attrs.EncapType == "ether" && len(attrs.HardwareAddr) == 6}
	if attrs.Xdp != nil && attrs.Xdp.Attached {
		f.Program = attrs.Xdp.ProgId
	}
	if can, err := abilities(iface); err == nil {
		f.Native, f.Redirects = judge(can, f.Driver)
	}
	return f, nil
}

// driver names the driver of an interface (SIOCETHTOOL, netdevice(7)); the kind of a virtual one is as good a name.
func driver(name, kind string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		if info, err := unix.IoctlGetEthtoolDrvinfo(fd, name); err == nil {
			return unix.ByteSliceToString(info.Driver[:])
		}
	}
	if kind == "device" { // what netlink.Link has for all that is not virtual
		return ""
	}
	return kind
}

// What a driver can do (linux/netdev.h, NETDEV_XDP_ACT_).
const (
	canBasic   = 1 << 0 // run programs
	canNdoXmit = 1 << 2 // send frames that are redirected to it
)

// judge makes answers of what a driver says that it can do now. Many drivers (virtio_net, mlx5, ice) make ready for redirected frames when a program
// is attached, and not before; a veth is ready when its other end has a program, or GRO.
func judge(can uint64, driver string) (native, redirects Ability) {
	native, redirects = No, No
	if can&canBasic != 0 {
		native = Yes
	}
	switch {
	case can&canNdoXmit != 0:
		redirects = Yes
	case native == Yes && driver != "veth":
		redirects = Unknown
	}
	return native, redirects
}

// The netdev family of generic netlink (linux/netdev.h), since Linux 6.3.
const (
	netdevGet         = 1 // NETDEV_CMD_DEV_GET
	netdevIfindex     = 1 // NETDEV_A_DEV_IFINDEX
	netdevXDPFeatures = 3 // NETDEV_A_DEV_XDP_FEATURES
)

// abilities asks what a driver can do. An older kernel does not have the family.
func abilities(iface int) (uint64, error) {
	family, err := netlink.GenlFamilyGet("netdev")
	if err != nil {
		return 0, err
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genericHeader{netdevGet, byte(family.Version)})
	req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(iface))))
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if can, ok := xdpFeatures(m); ok {
			return can, nil
		}
	}
	return 0, errors.ErrUnsupported
}

// genericHeader is linux/genetlink.h's struct genlmsghdr. nl.Genlmsg leaves whatever is in memory in the reserved bytes, and this family is refused
// if they are not zero.
type genericHeader [nl.SizeofGenlmsg]byte

// Len implements nl.NetlinkRequestData.
func (genericHeader) Len() int { return nl.SizeofGenlmsg }

// Serialize implements nl.NetlinkRequestData.
func (h genericHeader) Serialize() []byte { return h[:] }

// xdpFeatures reads one message of the family.
func xdpFeatures(msg []byte) (can uint64, ok bool) {
	if len(msg) < nl.SizeofGenlmsg {
		return 0, false
	}
	attrs, err := nl.ParseRouteAttr(msg[nl.SizeofGenlmsg:])
	if err != nil {
		return 0, false
	}
	for _, a := range attrs {
		if a.Attr.Type == netdevXDPFeatures && len(a.Value) >= 8 {
			return binary.NativeEndian.Uint64(a.Value), true
		}
	}
	return 0, false
}
