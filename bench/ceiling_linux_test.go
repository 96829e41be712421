package bench

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"sonde/internal/lab"
)

//go:generate go tool bpf2go -tags linux -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu" ceiling testdata/ceiling/ceiling.c

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES (Linux's Documentation/bpf/bpf_prog_run.rst), batch how many the kernel sends in a run.
const (
	liveFrames = 2
	batch      = 1 << 20
)

// A ceiling is a scan of the field that no scanner could do faster: its probes are made and its answers counted in the
// kernel, and nobody is told which were open. With constant it is but frames, all the same.
type ceiling struct {
	objects ceilingObjects
	at      link.Link
	frame   []byte
}

func newCeiling(b *testing.B, f *field, constant bool) *ceiling {
	b.Helper()
	device, err := net.InterfaceByName(f.host.Device)
	if err != nil {
		b.Fatal(err)
	}
	spec, err := loadCeiling()
	if err != nil {
		b.Fatal(err)
	}
	c := &ceiling{frame: synFrame(device.HardwareAddr, f.host)}
	var whole [80]byte
	copy(whole[:], c.frame)
	ip, tcp := sums(c.frame)
	bare := slices.Clone(c.frame) // without what varies
	clear(bare[ipAt+16 : tcpAt])
	clear(bare[tcpAt+2 : tcpAt+4])
	bareIP, bareTCP := sums(bare)
	finish(c.frame, ip, tcp)
	for name, value := range map[string]any{
		"constant": constant, "key0": uint64(0x0706050403020100), "key1": uint64(0x0f0e0d0c0b0a0908), "ifindex": uint32(device.Index),
		"first_addr": uint32(10<<24 | 77<<16), "addrs": uint32(fieldAddrs), "first_port": uint32(1), "frame": whole, "ip_sum": bareIP, "tcp_sum": bareTCP,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			b.Fatal(err)
		}
	}
	if err := spec.LoadAndAssign(&c.objects, nil); err != nil {
		b.Fatal(err)
	}
	c.at, err = link.AttachXDP(link.XDPOptions{Program: c.objects.Probe, Interface: device.Index, Flags: link.XDPDriverMode})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *ceiling) close() {
	_ = c.at.Close()
	_ = c.objects.Close()
}

// run sends as many probes as the field has targets, and returns how many were said to be open.
func (c *ceiling) run(b *testing.B) (opened int) {
	b.Helper()
	if err := c.objects.Next.Set(uint32(0)); err != nil {
		b.Fatal(err)
	}
	var before, after uint64
	if err := c.objects.Opened.Get(&before); err != nil {
		b.Fatal(err)
	}
	for range fieldAddrs * fieldPorts / batch {
		if _, err := c.objects.Probe.Run(&ebpf.RunOptions{Data: c.frame, Repeat: batch, Flags: liveFrames}); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.objects.Opened.Get(&after); err != nil {
		b.Fatal(err)
	}
	return int(after - before)
}

// Where a frame's headers are.
const ipAt, tcpAt = 14, 34

// words adds up words in the order of this machine's bytes, in which a checksum is as right as in the network's (RFC 1071, section 2).
func words(bytes []byte) (sum uint32) {
	for ; len(bytes) > 0; bytes = bytes[2:] {
		sum += uint32(binary.NativeEndian.Uint16(bytes))
	}
	return sum
}

// sums are those of the IPv4 header, and of the TCP segment with its pseudo header, of a frame.
func sums(frame []byte) (ip, tcp uint32) {
	pseudo := binary.BigEndian.AppendUint16([]byte{0, 6}, uint16(len(frame)-tcpAt))
	return words(frame[ipAt:tcpAt]), words(frame[ipAt+12:]) + words(pseudo)
}

// finish gives a frame the checksums that these sums come to.
func finish(frame []byte, ip, tcp uint32) {
	put := func(to []byte, sum uint32) {
		sum = sum>>16 + sum&0xffff
		binary.NativeEndian.PutUint16(to, ^uint16(sum>>16+sum))
	}
	put(frame[ipAt+10:], ip)
	put(frame[tcpAt+16:], tcp)
}

// synFrame is a SYN to the field's first port as Linux sends it, but for its checksums.
func synFrame(mac net.HardwareAddr, host *lab.Host) []byte {
	frame := append(append([]byte{}, host.MAC...), mac...)
	return append(frame,
		0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 1, 1, 10, 77, 0, 0,
		0x9c, 0x40, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0, // port 40000, window 64240
		2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7) // MSS, SACK, timestamps, window scale
}

// ceiling is the rate of one run of a ceiling over the field. What the link loses is told: a veth's queue takes 256 frames, and
// nobody here probes again.
func (f *field) ceiling(b *testing.B, constant bool) float64 {
	b.Helper()
	c := newCeiling(b, f, constant)
	defer c.close()
	f.host.ResetTally(b)
	opened, tally := c.run(b), f.host.Tally(b)
	if lost := fieldAddrs*fieldPorts - tally.SYNs(); lost > 0 {
		b.Logf("the link has lost %d of the ceiling's frames", lost)
	}
	if tally.Broken > 0 || uint64(opened) > tally.Open {
		b.Errorf("the far end has met %+v, and %d open ports are heard of", tally, opened)
	}
	return tally.Rate()
}
