package sock

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

func openRaw(t testing.TB, c RawConfig) *Raw {
	t.Helper()
	r, err := OpenRaw(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func holdPorts(t testing.TB, n int) *Ports {
	t.Helper()
	p, err := HoldPorts(n, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// tcpPacket is a whole TCP packet of flags like "S" or "SA".
func tcpPacket(from, to netip.AddrPort, flags string, seq uint32) []byte {
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: seq, Window: 1024,
		SYN: flags == "S" || flags == "SA", ACK: flags == "SA",
	}
	return ipPacket(from.Addr(), to.Addr(), layers.IPProtocolTCP, tcp)
}

// ipPacket is a whole packet that carries one layer and what is in it.
func ipPacket(from, to netip.Addr, proto layers.IPProtocol, content ...gopacket.SerializableLayer) []byte {
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	ip = &layers.IPv4{Version: 4, IHL: 5, TTL: 61, Id: 7, Protocol: proto, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	if from.Is6() {
		ip = &layers.IPv6{Version: 6, HopLimit: 61, NextHeader: proto, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	}
	if transport, ok := content[0].(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		_ = transport.SetNetworkLayerForChecksum(ip)
	}
	buf := gopacket.NewSerializeBuffer()
	all := append([]gopacket.SerializableLayer{ip}, content...)
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// hearing is what a Raw hears from now on.
type hearing struct {
	mu      sync.Mutex
	packets [][]byte
	at      []time.Time
}

// listenTo hears until the test is over.
func listenTo(t testing.TB, r *Raw) *hearing {
	t.Helper()
	h := &hearing{}
	ended := make(chan error, 1)
	go func() {
		ended <- r.Receive(func(packet []byte, iface int, at time.Time) {
			if packet[0]>>4 == 6 && packet[24] == 0xff {
				return // multicast: hosts tell their links what they listen to, behind an extension header (RFC 3810)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.packets, h.at = append(h.packets, bytes.Clone(packet)), append(h.at, at)
		})
	}()
	t.Cleanup(func() {
		if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the end of Receive: %v", err)
		}
	})
	return h
}

// wait returns what was heard, once it is n packets, or too late.
func (h *hearing) wait(n int) [][]byte {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		packets := slices.Clone(h.packets)
		h.mu.Unlock()
		if len(packets) >= n || time.Now().After(deadline) {
			return packets
		}
	}
}

// rest returns all that was heard by the time when nothing more can be.
func (h *hearing) rest() [][]byte {
	time.Sleep(3 * RawLag)
	return h.wait(0)
}

// answer is what of a packet the tests look at.
type answer struct {
	from, to netip.AddrPort
	kind     string // SA, R, other
	ack      uint32
	ttl      uint8
}

func decode(packet []byte) (a answer, p gopacket.Packet) {
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	if packet[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p = gopacket.NewPacket(packet, first, gopacket.NoCopy)
	from, to := p.NetworkLayer().NetworkFlow().Endpoints()
	src, _ := netip.AddrFromSlice(from.Raw())
	dst, _ := netip.AddrFromSlice(to.Raw())
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		a.ttl = ip.TTL
	case *layers.IPv6:
		a.ttl = ip.HopLimit
	}
	a.kind = "other"
	if tcp, ok := p.TransportLayer().(*layers.TCP); ok {
		a.from, a.to, a.ack = netip.AddrPortFrom(src, uint16(tcp.SrcPort)), netip.AddrPortFrom(dst, uint16(tcp.DstPort)), tcp.Ack
		switch {
		case tcp.SYN && tcp.ACK:
			a.kind = "SA"
		case tcp.RST:
			a.kind = "R"
		case tcp.SYN:
			a.kind = "S"
		}
		return a, p
	}
	a.from, a.to = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	return a, p
}

func sendAllOf(t testing.TB, r *Raw, batch ...[]byte) {
	t.Helper()
	if n, err := r.Send(batch); n != len(batch) || err != nil {
		t.Fatalf("sent %d of %d: %v", n, len(batch), err)
	}
}

// listenHere returns a port of this machine that accepts.
func listenHere(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet6{}), unix.Listen(fd, 10)); err != nil {
		t.Fatal(err)
	}
	local, err := localAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	return local.Port()
}
