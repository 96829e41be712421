package sock

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
)

// tun makes a device without link addresses and returns the end where packets come out.
func tun(t testing.TB, name string) *os.File {
	t.Helper()
	dev := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1, NonPersist: true}
	if err := netlink.LinkAdd(dev); err != nil {
		t.Skipf("no tun device here: %v", err)
	}
	fd, err := unix.FcntlInt(dev.Fds[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = dev.Fds[0].Close() // it was no device yet when the runtime looked whether it can wait for it
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = f.Close() })
	_ = f.SetReadDeadline(time.Now().Add(5 * time.Second))
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(dev, addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		t.Fatal(err)
	}
	return f
}

// What is sent comes out of a tunnel as it is, and what comes out at this end is heard if it can be an answer.
func TestRawTunnel(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	far := tun(t, "tun0")
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	here6, there6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	r := openRaw(t, RawConfig{First: 50000, Last: 50003})
	for _, want := range [][]byte{
		tcpPacket(netip.AddrPortFrom(here, 50000), netip.AddrPortFrom(there, 80), "S", 1),
		tcpPacket(netip.AddrPortFrom(here6, 50000), netip.AddrPortFrom(there6, 80), "S", 1),
	} {
		sendAllOf(t, r, want)
		buf := make([]byte, 2000)
		for {
			n, err := far.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(buf[:n], want) && buf[6] != 58 && buf[6] != 0 { // the kernel's own talk with its neighbours
				t.Errorf("out came %x, want %x", buf[:n], want)
			}
			if bytes.Equal(buf[:n], want) {
				break
			}
		}
	}
	heard := listenTo(t, r)
	var yes, no [][]byte
	for _, c := range comers(here, there, here6, there6) {
		if c.heard {
			yes = append(yes, c.packet)
		} else {
			no = append(no, c.packet)
		}
		if _, err := far.Write(c.packet); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
	}
	heard.wait(len(yes))
	got := heard.rest()
	for _, p := range yes {
		if !slices.ContainsFunc(got, func(g []byte) bool { return bytes.Equal(g, p) }) {
			t.Errorf("not heard: %x", p)
		}
	}
	for _, p := range no {
		if slices.ContainsFunc(got, func(g []byte) bool { return bytes.Equal(g, p) }) {
			t.Errorf("heard: %x", p)
		}
	}
	if len(got) != len(yes) {
		t.Errorf("heard %d packets, want %d", len(got), len(yes))
	}
}

// A comer is a packet that comes in.
type comer struct {
	what   string
	packet []byte
	heard  bool
}

// comers are packets of all kinds, each different from the others.
func comers(here, there, here6, there6 netip.Addr) (all []comer) {
	add := func(what string, heard bool, packet []byte) { all = append(all, comer{what, packet, heard}) }
	for i, pair := range [][2]netip.Addr{{there, here}, {there6, here6}} {
		for port, heard := range map[uint16]bool{49999: false, 50000: true, 50003: true, 50004: false, 80: false} {
			add("TCP", heard, tcpPacket(netip.AddrPortFrom(pair[0], 80), netip.AddrPortFrom(pair[1], port), "SA", uint32(i)))
			udp := &layers.UDP{SrcPort: 80, DstPort: layers.UDPPort(port)}
			add("UDP", false, ipPacket(pair[0], pair[1], layers.IPProtocolUDP, udp, gopacket.Payload("udp")))
		}
	}
	quote := gopacket.Payload(tcpPacket(netip.AddrPortFrom(here, 50000), netip.AddrPortFrom(there, 80), "S", 1))
	for kind := range uint8(20) {
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 1)}
		add("ICMP", kind == 3 || kind == 11 || kind == 12, ipPacket(there, here, layers.IPProtocolICMPv4, icmp, quote))
	}
	for _, kind := range []uint8{0, 1, 2, 3, 4, 5, 128, 129, 135, 136} {
		b := ipPacket(there6, here6, layers.IPProtocolICMPv6, gopacket.Payload(append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, quote...)))
		add("ICMPv6", kind >= 1 && kind <= 4, b)
	}
	// Options before the TCP header, and headers of IPv6.
	tcp := tcpPacket(netip.AddrPortFrom(there, 81), netip.AddrPortFrom(here, 50001), "SA", 3)
	options := slices.Concat([]byte{0x4f}, tcp[1:20], bytes.Repeat([]byte{1}, 40), tcp[20:])
	options[3] += 40
	add("IPv4 with options", true, options)
	other := bytes.Clone(options)
	other[60+3]++ // port 50002; and then 49999
	add("IPv4 with options", true, other)
	other = bytes.Clone(options)
	other[60+3] -= 2
	add("IPv4 with options", false, other)
	first, later := bytes.Clone(tcp), bytes.Clone(tcp)
	first[6] = 0x20 // more fragments
	later[7] = 3    // offset 24: the sequence number of the first part is no port
	add("the first fragment", true, first)
	add("a later fragment", false, later)
	tcp6 := tcpPacket(netip.AddrPortFrom(there6, 81), netip.AddrPortFrom(here6, 50001), "SA", 3)
	for _, next := range []byte{0, 43, 44, 51, 60} {
		b := slices.Concat(tcp6[:40], []byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp6[40:])
		b[5] += 8
		b[6] = next
		add("IPv6 with a header", true, b)
	}
	long := tcpPacket(netip.AddrPortFrom(there, 82), netip.AddrPortFrom(here, 50001), "SA", 3)
	long = append(long, make([]byte, 1400)...)
	long[2], long[3] = byte(len(long)>>8), byte(len(long))
	add("long", true, long)
	return all
}
