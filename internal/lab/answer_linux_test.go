package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// A tap reads and writes the frames of a device (packet(7)).
type tap struct {
	*os.File
	host *lab.Host
	mac  net.HardwareAddr
}

func newTap(t *testing.T, host *lab.Host) tap {
	t.Helper()
	device := deviceOf(t, host)
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), host.Device)
	t.Cleanup(func() { _ = file.Close() })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device.Index}); err != nil {
		t.Fatal(err)
	}
	return tap{file, host, device.HardwareAddr}
}

// A segment is a TCP segment with the headers below it.
type segment struct {
	src, dst netip.Addr
	ttl      uint8
	tcp      layers.TCP
}

func (s segment) ip() gopacket.NetworkLayer {
	if s.src.Is4() {
		return &layers.IPv4{Version: 4, TTL: s.ttl, Protocol: layers.IPProtocolTCP, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
	}
	return &layers.IPv6{Version: 6, HopLimit: s.ttl, NextHeader: layers.IPProtocolTCP, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
}

// send sends a segment; spoil, if not nil, changes the frame at the last moment.
func (w tap) send(t *testing.T, s segment, spoil func(frame []byte)) {
	t.Helper()
	ip := s.ip()
	if err := s.tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	frame := serialize(t, w.ethernet(s.src), ip.(gopacket.SerializableLayer), &s.tcp)
	if spoil != nil {
		spoil(frame)
	}
	if _, err := w.Write(frame); err != nil {
		t.Fatal(err)
	}
}

func (w tap) ethernet(src netip.Addr) *layers.Ethernet {
	if src.Is6() {
		return &layers.Ethernet{SrcMAC: w.mac, DstMAC: w.host.MAC, EthernetType: layers.EthernetTypeIPv6}
	}
	return &layers.Ethernet{SrcMAC: w.mac, DstMAC: w.host.MAC, EthernetType: layers.EthernetTypeIPv4}
}

func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// next returns the next TCP segment that comes from the host, or false if none comes in time.
func (w tap) next(t *testing.T, patience time.Duration) (s segment, ok bool) {
	t.Helper()
	if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 1<<16); ; {
		n, err := w.Read(buf)
		if os.IsTimeout(err) {
			return s, false
		}
		if err != nil {
			t.Fatal(err)
		}
		packet := gopacket.NewPacket(slices.Clone(buf[:n]), layers.LayerTypeEthernet, gopacket.NoCopy)
		tcp, _ := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if tcp == nil || packet.LinkLayer().LinkFlow().Src().String() != w.host.MAC.String() {
			continue
		}
		for _, bad := range checksums(packet, tcp) {
			t.Errorf("%s of %v", bad, packet)
		}
		s.tcp = *tcp
		s.src, _ = netip.AddrFromSlice(packet.NetworkLayer().NetworkFlow().Src().Raw())
		s.dst, _ = netip.AddrFromSlice(packet.NetworkLayer().NetworkFlow().Dst().Raw())
		switch ip := packet.NetworkLayer().(type) {
		case *layers.IPv4:
			s.ttl = ip.TTL
		case *layers.IPv6:
			s.ttl = ip.HopLimit
		}
		return s, true
	}
}

// checksums says what gopacket finds wrong in a packet.
func checksums(p gopacket.Packet, tcp *layers.TCP) (wrong []string) {
	if err := tcp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		return []string{err.Error()}
	}
	err, mismatches := p.VerifyChecksums()
	if err != nil {
		return []string{err.Error()}
	}
	for _, m := range mismatches {
		wrong = append(wrong, fmt.Sprintf("checksum %#x, want %#x, in layer %d", m.Actual, m.Correct, m.LayerIndex))
	}
	return wrong
}

const far4, far6 = "10.77.0.0/16", "fd77::/64"

func answering(wire lab.Wire) lab.Config {
	return lab.Config{Wire: wire, Local: []netip.Prefix{netip.MustParsePrefix(far4), netip.MustParsePrefix(far6)}}
}

// targetsOf finds, for each state, an address of the prefix that has it on port 80.
func targetsOf(prefix string) map[probe.State]netip.Addr {
	found := map[probe.State]netip.Addr{}
	for a := netip.MustParsePrefix(prefix).Addr(); len(found) < 3; a = a.Next() {
		found[lab.Truth(netip.AddrPortFrom(a, 80))] = a
	}
	return found
}

// families are the client's addresses on the first link and those beyond the host.
var families = []struct{ name, client, far string }{{"ipv4", "198.18.1.1", far4}, {"ipv6", "fd00:1::1", far6}}

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	o := layers.TCPOption{OptionType: kind, OptionData: data, OptionLength: uint8(2 + len(data))}
	if kind == layers.TCPOptionKindNop {
		o.OptionLength = 1
	}
	return o
}

// TestAnswerer sends SYNs with all sorts of options, and looks at each byte of the answers that matters.
func TestAnswerer(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, answering(lab.Answerer))
	w := newTap(t, host)
	mss := option(layers.TCPOptionKindMSS, 5, 0xb4)
	sack := option(layers.TCPOptionKindSACKPermitted)
	nop := option(layers.TCPOptionKindNop)
	scale := option(layers.TCPOptionKindWindowScale, 7)
	stamp := option(layers.TCPOptionKindTimestamps, 1, 2, 3, 4, 0, 0, 0, 0)
	fill := option(254, make([]byte, 28)...)
	for _, family := range families {
		targets := targetsOf(family.far)
		client := netip.MustParseAddr(family.client)
		for i, options := range [][]layers.TCPOption{
			nil,
			{mss},                                    // masscan, zmap
			{mss, sack, stamp, nop, scale},           // Linux
			{mss, nop, scale, nop, nop, stamp, sack}, // macOS
			{stamp, mss}, {nop, stamp}, {nop, nop, stamp}, {scale, stamp, mss}, {fill, stamp}, {stamp, fill},
			{fill, mss, sack}, {option(8, 1, 2), mss}, {option(253)},
		} {
			syn := segment{src: client, ttl: 255, tcp: layers.TCP{SrcPort: layers.TCPPort(40000 + i), DstPort: 80, Seq: 0xfffffffe + uint32(i), SYN: true, Window: 1024, Options: options}}
			name := fmt.Sprintf("%s, options %v", family.name, options)
			for _, state := range []probe.State{probe.Filtered, probe.Open, probe.Closed} {
				syn.dst = targets[state]
				w.send(t, syn, nil)
				if state == probe.Filtered {
					continue // what comes next is the answer to another
				}
				answer, ok := w.next(t, long)
				if !ok {
					t.Fatalf("%s: no answer from a port that is %v", name, state)
				}
				compare(t, name, state, syn, answer)
			}
		}
		if _, more := w.next(t, short); more {
			t.Errorf("%s: an answer too many", family.name)
		}
	}
}

// compare holds an answer against the SYN that asked for it.
func compare(t *testing.T, name string, state probe.State, syn, answer segment) {
	t.Helper()
	s, a := syn.tcp, answer.tcp
	if answer.src != syn.dst || answer.dst != syn.src || a.SrcPort != s.DstPort || a.DstPort != s.SrcPort || answer.ttl != 64 {
		t.Errorf("%s: %v:%d to %v:%d, TTL %d", name, answer.src, a.SrcPort, answer.dst, a.DstPort, answer.ttl)
	}
	if a.Ack != s.Seq+1 || !a.ACK || a.SYN == a.RST || a.SYN != (state == probe.Open) || a.FIN || a.PSH || a.URG {
		t.Errorf("%s: SYN of %d is answered by %+v", name, s.Seq, a)
	}
	if state == probe.Closed {
		if a.Seq != 0 || a.Window != 0 || a.DataOffset != 5 || len(a.Payload) != 0 {
			t.Errorf("%s: RST has sequence number %d, window %d, %d words", name, a.Seq, a.Window, a.DataOffset)
		}
		return
	}
	if len(a.Options) < len(s.Options) || a.Seq == 0 || a.Window == 0 {
		t.Fatalf("%s: options %v, sequence number %d, window %d", name, a.Options, a.Seq, a.Window)
	}
	for i, asked := range s.Options {
		got := a.Options[i]
		want := slices.Clone(asked.OptionData)
		if asked.OptionType == layers.TCPOptionKindTimestamps && len(asked.OptionData) == 8 {
			want = slices.Concat(got.OptionData[:4], asked.OptionData[:4])
			if slices.Equal(got.OptionData[:4], asked.OptionData[:4]) {
				t.Errorf("%s: it has our own clock", name)
			}
		}
		if got.OptionType != asked.OptionType || !slices.Equal(got.OptionData, want) {
			t.Errorf("%s: option %v is answered by %v", name, asked, got)
		}
	}
}

// TestTruth asks thousands of addresses and ports, and holds that the two writings of the rule agree on each.
func TestTruth(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, answering(lab.Answerer))
	w := newTap(t, host)
	sent, unused := map[netip.AddrPort]bool{}, uint64(0)
	want := map[netip.AddrPort]probe.State{}
	for _, family := range families {
		addr := netip.MustParsePrefix(family.far).Addr()
		for i := range 8192 {
			to := netip.AddrPortFrom(addr, uint16(i*7919))
			sent[to] = true
			if to.Port() >= 49152 {
				unused++
			}
			if state := lab.Truth(to); state != probe.Filtered {
				want[to] = state
			}
			w.send(t, segment{src: netip.MustParseAddr(family.client), dst: addr, ttl: 64, tcp: layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(to.Port()), SYN: true}}, nil)
			addr = addr.Next()
			if i%128 == 0 { // the host's queue takes 256
				time.Sleep(time.Millisecond)
			}
		}
	}
	got := map[netip.AddrPort]probe.State{}
	for len(got) < len(want) {
		answer, ok := w.next(t, long)
		if !ok {
			break
		}
		from := netip.AddrPortFrom(answer.src, uint16(answer.tcp.SrcPort))
		got[from] = probe.Closed
		if answer.tcp.SYN {
			got[from] = probe.Open
		}
	}
	for to := range sent {
		if got[to] != want[to] {
			t.Errorf("%v: %v, want %v", to, got[to], want[to])
		}
	}
	tally := host.Tally(t)
	if tally.Unused != unused || tally.SYNs()+unused != uint64(len(sent)) {
		t.Errorf("%d SYNs, %d of them to high ports: %+v", len(sent), unused, tally)
	}
}

// TestTally counts segments of each kind, and their time.
func TestTally(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, answering(lab.Sink))
	w := newTap(t, host)
	for _, family := range families {
		host.ResetTally(t)
		if tally := host.Tally(t); tally != (lab.Tally{}) {
			t.Fatalf("%s: after a reset: %+v", family.name, tally)
		}
		send := func(flags layers.TCP, spoil func([]byte)) {
			t.Helper()
			flags.SrcPort, flags.DstPort = 40000, 80
			w.send(t, segment{src: netip.MustParseAddr(family.client), dst: targetsOf(family.far)[probe.Open], ttl: 64, tcp: flags}, spoil)
		}
		begun := monotonic(t)
		for range 10 {
			send(layers.TCP{SYN: true}, nil)
			time.Sleep(10 * time.Millisecond)
		}
		over := monotonic(t)
		send(layers.TCP{RST: true}, nil)
		send(layers.TCP{RST: true, ACK: true}, nil)
		send(layers.TCP{ACK: true}, nil)
		send(layers.TCP{SYN: true, ACK: true}, nil)
		send(layers.TCP{SYN: true, FIN: true}, nil)
		send(layers.TCP{SYN: true}, func(frame []byte) { frame[53] ^= 1 }) // the urgent pointer; of IPv6 the address
		send(layers.TCP{SYN: true}, func(frame []byte) { frame[24] ^= 1 }) // the IP checksum; of IPv6 the address
		tally := host.Tally(t)
		if tally.Silent != 10 || tally.SYNs() != 10 || tally.Resets != 2 || tally.Others != 3 || tally.Broken != 2 {
			t.Errorf("%s: %+v", family.name, tally)
		}
		if tally.First < begun || tally.Last > over || tally.Last-tally.First < 90*time.Millisecond {
			t.Errorf("%s: SYNs from %v to %v, sent from %v to %v", family.name, tally.First, tally.Last, begun, over)
		}
		if rate := tally.Rate(); rate > 100 || rate < 9/(over-begun).Seconds() {
			t.Errorf("%s: %.0f SYNs/s", family.name, rate)
		}
		if _, answered := w.next(t, short); answered {
			t.Errorf("%s: a sink answers", family.name)
		}
	}
}

func monotonic(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// TestWireLetsPass holds that a host with a Wire is a host: its kernel connects, pings and answers datagrams, whole ones of a
// jumbo link as well.
func TestWireLetsPass(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	for _, mtu := range []int{0, 9000} {
		config := answering(lab.Answerer)
		config.MTU = mtu
		config.Listen = []lab.Listener{{Proto: probe.UDP, Ports: lab.Port(7), Do: lab.Echo}}
		config.Rules = []lab.Rule{{Proto: probe.UDP, Ports: lab.Port(7)}}
		host := lan.Host(t, config)
		for _, family := range families {
			targets := targetsOf(family.far)
			for state, want := range map[probe.State]error{probe.Open: nil, probe.Closed: syscall.ECONNREFUSED, probe.Filtered: syscall.ETIMEDOUT} {
				if err := connect(targets[state], 80, attempt); err != want {
					t.Errorf("MTU %d, %s: connect to a port that is %v: %v", mtu, family.name, state, err)
				}
			}
			text := string(make([]byte, 8000))
			if heard, err := ask(targets[probe.Open], 7, text, long); heard != text || err != nil {
				t.Errorf("MTU %d, %s: echo of %d bytes: %d, %v", mtu, family.name, len(text), len(heard), err)
			}
		}
		if tally := host.Tally(t); tally.Open != 2 || tally.Closed != 2 || tally.Broken != 0 {
			t.Errorf("MTU %d: %+v", mtu, tally)
		}
		if device := deviceOf(t, host); mtu != 0 && device.MTU != mtu {
			t.Errorf("MTU %d, want %d", device.MTU, mtu)
		}
	}
}
