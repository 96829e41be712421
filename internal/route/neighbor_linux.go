package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Between two looks at whether a neighbour has answered. One on a wire takes less than the first.
const (
	firstLook = time.Millisecond
	longLook  = 50 * time.Millisecond
)

// discard is the port of RFC 863.
const discard = 9

// Neighbor returns the link address to which packets to a go by hop, as the kernel's neighbour table has it: that
// of the gateway or, without one, of a itself. It is false where the kernel does not know it, and does not ask anybody.
func (t *Table) Neighbor(hop *Hop, a netip.Addr) (link [6]byte, ok bool) {
	link, state, err := neighbor(hop, next(hop, a))
	return link, err == nil && isKnown(state)
}

// Resolve is Neighbor where the kernel finds out what it does not know, by ARP or NDP, for as long as ctx lasts. It is
// ErrNoNeighbor if nobody answers, which takes the kernel some three seconds to say.
func (t *Table) Resolve(ctx context.Context, hop *Hop, a netip.Addr) (link [6]byte, err error) {
	a = next(hop, a)
	fail := func(err error) ([6]byte, error) {
		return [6]byte{}, fmt.Errorf("find the link address of %v on %s: %w", a, hop.Name, err)
	}
	if !hop.Ethernet {
		return fail(fmt.Errorf("this is no Ethernet: %w", errors.ErrUnsupported))
	}
	link, state, err := neighbor(hop, a)
	if err == nil && !isKnown(state) {
		err = inquire(hop, a)
	}
	for pause := firstLook; err == nil && !isKnown(state); pause = min(2*pause, longLook) {
		if err = wait(ctx, pause); err != nil {
			break
		}
		link, state, err = neighbor(hop, a)
		if err == nil && state == unix.NUD_FAILED {
			err = ErrNoNeighbor
		}
	}
	if err != nil {
		return fail(err)
	}
	return link, nil
}

// next returns whose link address packets to a need.
func next(hop *Hop, a netip.Addr) netip.Addr {
	if hop.Gateway.IsValid() {
		return hop.Gateway
	}
	return a.Unmap().WithZone("")
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// isKnown reports whether packets are sent to a neighbour in this state (NUD_VALID in the kernel).
func isKnown(nud int) bool {
	return nud&(unix.NUD_PERMANENT|unix.NUD_NOARP|unix.NUD_REACHABLE|unix.NUD_PROBE|unix.NUD_STALE|unix.NUD_DELAY) != 0
}

// neighbor reads one entry of the neighbour table (rtnetlink(7), RTM_GETNEIGH; since Linux 5.0). One that is not there
// has no state.
func neighbor(hop *Hop, a netip.Addr) (link [6]byte, state int, err error) {
	if !hop.Ethernet {
		return link, unix.NUD_NONE, nil
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.AddData(&netlink.Ndmsg{Family: family(a), Index: uint32(hop.Interface)})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, a.AsSlice()))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if errors.Is(err, unix.ENOENT) || err == nil && len(messages) == 0 {
		return link, unix.NUD_NONE, nil
	}
	if err != nil {
		return link, unix.NUD_NONE, err
	}
	entry, err := netlink.NeighDeserialize(messages[0])
	if err != nil {
		return link, unix.NUD_NONE, err
	}
	copy(link[:], entry.HardwareAddr)
	return link, entry.State, nil
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// inquire has the kernel ask the link for a. It does so when it is told that the entry is used (NTF_USE, linux/neighbour.h),
// which takes CAP_NET_ADMIN, or when something is sent there.
func inquire(hop *Hop, a netip.Addr) error {
	err := netlink.NeighSet(&netlink.Neigh{LinkIndex: hop.Interface, Family: int(family(a)), Flags: netlink.NTF_USE, IP: a.AsSlice()})
	if errors.Is(err, os.ErrPermission) {
		return sayHello(hop, a)
	}
	return err
}

// sayHello sends an empty datagram that nobody answers.
func sayHello(hop *Hop, a netip.Addr) error {
	if a.Is6() && a.IsLinkLocalUnicast() {
		a = a.WithZone(hop.Name)
	}
	byHop := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), hop.Name) })
		return errors.Join(cerr, err)
	}}
	conn, err := byHop.Dial("udp", netip.AddrPortFrom(a, discard).String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write(nil)
	return err
}
