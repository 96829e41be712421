package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ReadNeighbors returns the neighbour table. It asks the kernel once and needs no privileges; the cost is
// that of the table's length, whatever is looked for in it.
func ReadNeighbors() (Neighbors, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.AddRawData(make([]byte, unix.SizeofNdMsg)) // both families, all links (rtnetlink(7))
	table := Neighbors{}
	zones := map[uint32]string{}
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH, func(msg []byte) bool {
		addr, link, state := parseNeighbor(msg)
		if state != NeighborUnknown {
			table.add(addr, link, state, zones)
		}
		return true
	})
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) { // the table changed meanwhile, as it always does
		return nil, fmt.Errorf("read the neighbour table: %w", err)
	}
	return table, nil
}

// add notes an entry, a link-local one under its zone's names.
func (n Neighbors) add(addr netip.Addr, link uint32, state NeighborState, zones map[uint32]string) {
	if !addr.Is6() || !addr.IsLinkLocalUnicast() {
		n.put(addr, state)
		return
	}
	n.put(addr.WithZone(strconv.FormatUint(uint64(link), 10)), state)
	if _, known := zones[link]; !known {
		zones[link] = ""
		if i, err := net.InterfaceByIndex(int(link)); err == nil {
			zones[link] = i.Name
		}
	}
	if zones[link] != "" {
		n.put(addr.WithZone(zones[link]), state)
	}
}

// parseNeighbor reads an RTM_NEWNEIGH message: a struct ndmsg and its attributes (linux/neighbour.h).
func parseNeighbor(msg []byte) (addr netip.Addr, link uint32, state NeighborState) {
	if len(msg) < unix.SizeofNdMsg {
		return addr, 0, NeighborUnknown
	}
	var header unix.NdMsg
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&header)), unix.SizeofNdMsg), msg)
	if header.Family != unix.AF_INET && header.Family != unix.AF_INET6 {
		return addr, 0, NeighborUnknown
	}
	attrs, err := nl.ParseRouteAttr(msg[unix.SizeofNdMsg:])
	if err != nil {
		return addr, 0, NeighborUnknown
	}
	known := false // is the link address
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.NDA_DST:
			addr, _ = netip.AddrFromSlice(a.Value)
		case unix.NDA_LLADDR:
			known = len(a.Value) > 0
		}
	}
	if !addr.IsValid() || addr.IsMulticast() {
		return addr, 0, NeighborUnknown
	}
	return addr, uint32(header.Ifindex), neighborState(header.State, known)
}

// neighborState reduces the kernel's state to what it proves. known says that there is a link address.
func neighborState(nud uint16, known bool) NeighborState {
	const asked = unix.NUD_INCOMPLETE | unix.NUD_FAILED
	const answered = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
	switch {
	case nud&answered != 0 && known:
		return NeighborReachable
	case nud&asked != 0:
		return NeighborFailed
	}
	return NeighborUnknown
}
