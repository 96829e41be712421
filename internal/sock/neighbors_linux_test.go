package sock

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
)

// Who answers for its address is in the table, and so is who does not.
func TestNeighbors(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{})
	link, err := netlink.LinkByName("lab1")
	if err != nil {
		t.Fatal(err)
	}
	static := netip.MustParseAddr("198.18.1.200")
	entry := &netlink.Neigh{LinkIndex: link.Attrs().Index, State: unix.NUD_PERMANENT, IP: static.AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	if err := netlink.NeighAdd(entry); err != nil {
		t.Fatal(err)
	}
	linkLocal, absent := netip.MustParseAddr("fe80::2"), netip.MustParseAddr("fe80::99")
	want := map[netip.Addr]NeighborState{
		host.IPv4: NeighborReachable, host.IPv6: NeighborReachable,
		linkLocal.WithZone("lab1"): NeighborReachable, linkLocal.WithZone(strconv.Itoa(link.Attrs().Index)): NeighborReachable, linkLocal: NeighborUnknown,
		netip.MustParseAddr("198.18.1.77"): NeighborFailed, netip.MustParseAddr("fd00:1::77"): NeighborFailed, absent.WithZone("lab1"): NeighborFailed,
		static: NeighborUnknown, netip.MustParseAddr("192.0.2.1"): NeighborUnknown, netip.MustParseAddr("127.0.0.1"): NeighborUnknown,
	}
	for addr := range want { // whom one talks to, one looks for
		if conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String()); err == nil {
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}
	// A host takes a moment to answer. That nobody does is in the table at once.
	var got Neighbors
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got, err = ReadNeighbors(); err != nil {
			t.Fatal(err)
		}
		if agree(got, want) {
			return
		}
	}
	for addr, state := range want {
		if got[addr] != state {
			t.Errorf("%v is %v, want %v", addr, got[addr], state)
		}
	}
}

func agree(got Neighbors, want map[netip.Addr]NeighborState) bool {
	for addr, state := range want {
		if got[addr] != state {
			return false
		}
	}
	return true
}

// The better state counts, whatever the order.
func TestNeighborOnSeveralLinks(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	for _, order := range [][]uint16{{unix.NUD_FAILED, unix.NUD_STALE}, {unix.NUD_STALE, unix.NUD_FAILED}} {
		n := Neighbors{}
		for _, nud := range order {
			n.add(addr, 1, neighborState(nud, true), nil)
		}
		if n[addr] != NeighborReachable {
			t.Errorf("%v: %v", order, n[addr])
		}
	}
}

func BenchmarkReadNeighbors(b *testing.B) {
	n := lab.Enter(b)
	if n == nil {
		return
	}
	n.Host(b, lab.Config{})
	link, err := netlink.LinkByName("lab1")
	if err != nil {
		b.Fatal(err)
	}
	const entries = 10000
	for i := range entries {
		entry := &netlink.Neigh{LinkIndex: link.Attrs().Index, State: unix.NUD_PERMANENT, IP: net.IP{10, 1, byte(i >> 8), byte(i)}, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
		if err := netlink.NeighAdd(entry); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadNeighbors(); err != nil {
			b.Fatal(err)
		}
	}
}
