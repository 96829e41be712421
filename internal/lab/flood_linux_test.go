package lab_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/gopacket/gopacket/layers"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// TestFlood looks at what a flood is made of.
func TestFlood(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, answering(lab.Sink))
	w := newTap(t, host)
	for _, family := range families {
		host.ResetTally(t)
		from, to := netip.MustParsePrefix(family.far), netip.MustParseAddr(family.client)
		const count = 2000
		wait := host.Flood(t, lab.Flood{From: from, Ports: lab.Range(1, 32), To: lab.Range(40000, 40007), PerSecond: 10000, Count: count})
		var addrs, ports, tos, acks = map[netip.Addr]int{}, map[layers.TCPPort]int{}, map[layers.TCPPort]int{}, map[uint32]int{}
		for range count {
			s, ok := w.next(t, long)
			if !ok {
				t.Fatalf("%s: no more after %d of %d", family.name, len(acks), count)
			}
			if !s.tcp.SYN || !s.tcp.ACK || s.tcp.RST || len(s.tcp.Options) != 5 || s.dst != to || !from.Contains(s.src) {
				t.Fatalf("%s: %+v", family.name, s)
			}
			addrs[s.src]++
			ports[s.tcp.SrcPort]++
			tos[s.tcp.DstPort]++
			acks[s.tcp.Ack]++
		}
		if sent := wait(); sent != count {
			t.Errorf("%s: %d sent, want %d", family.name, sent, count)
		}
		if _, more := w.next(t, short); more {
			t.Errorf("%s: a packet too many", family.name)
		}
		if len(addrs) < count*9/10 || len(acks) < count*9/10 || len(ports) != 32 || len(tos) != 8 {
			t.Errorf("%s: %d packets from %d addresses and %d ports, to %d ports, with %d acknowledgements", family.name, count, len(addrs), len(ports), len(tos), len(acks))
		}
		if resets := host.Tally(t).Resets; resets != count {
			t.Errorf("%s: the client's kernel resets %d", family.name, resets)
		}
	}
}

// TestFloodRate holds that a flood is no faster than was asked for, and that all of it is counted and sent.
func TestFloodRate(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, lab.Config{Wire: lab.Sink})
	device := deviceOf(t, host)
	drop := xdp(t, asm.Mov.Imm(asm.R0, 1), asm.Return()) // XDP_DROP: the client's kernel could not bear as much
	attached, err := link.AttachXDP(link.XDPOptions{Program: drop, Interface: device.Index, Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	const rate = 500_000
	start := time.Now()
	sent := host.Flood(t, lab.Flood{PerSecond: rate, Count: rate})()
	if took := time.Since(start); sent != rate || took < 900*time.Millisecond {
		t.Errorf("%d packets in %v, want %d in a second", sent, took, rate)
	}
}

func deviceOf(t *testing.T, host *lab.Host) *net.Interface {
	t.Helper()
	device, err := net.InterfaceByName(host.Device)
	if err != nil {
		t.Fatal(err)
	}
	return device
}

// xdp loads a program for a driver's receive path.
func xdp(t *testing.T, instructions ...asm.Instruction) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "MIT", Instructions: instructions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return program
}

// TestGRO redirects frames to hosts with and without a receive queue for them: those with GRO or a Wire get each, the
// other none.
func TestGRO(t *testing.T) {
	t.Parallel()
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	const count = 100
	for _, test := range []struct {
		name   string
		config lab.Config
		want   uint64
	}{
		{"wire", lab.Config{Wire: lab.Sink}, count}, // first: where there is no XDP it says so
		{"plain", lab.Config{}, 0},
		{"gro", lab.Config{GRO: true}, count},
		{"jumbo", lab.Config{GRO: true, MTU: 9000}, count},
	} {
		test.config.Rules = []lab.Rule{{Proto: probe.UDP, Ports: lab.Port(9)}}
		host := lan.Host(t, test.config)
		device := deviceOf(t, host)
		redirect := xdp(t, asm.Mov.Imm(asm.R1, int32(device.Index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return())
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(198, 18, 1, 1), DstIP: host.IPv4.AsSlice()}
		udp := &layers.UDP{SrcPort: 9, DstPort: 9}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		frame := serialize(t, &layers.Ethernet{SrcMAC: device.HardwareAddr, DstMAC: host.MAC, EthernetType: layers.EthernetTypeIPv4}, ip, udp)
		const liveFrames = 2 // BPF_F_TEST_XDP_LIVE_FRAMES
		if _, err := redirect.Run(&ebpf.RunOptions{Data: frame, Repeat: count, Flags: liveFrames}); err != nil {
			t.Fatal(err)
		}
		heard := host.Hits(t)[0]
		for deadline := time.Now().Add(short); heard != test.want && time.Now().Before(deadline); heard = host.Hits(t)[0] {
			time.Sleep(time.Millisecond)
		}
		if heard != test.want {
			t.Errorf("%s: %d of %d frames arrive, want %d", test.name, heard, count, test.want)
		}
	}
}
