package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES (Linux's Documentation/bpf/bpf_prog_run.rst).
const liveFrames = 2

// Flood begins to pour packets on the client, which hangs directly on the host, and returns a function that waits
// for the end and returns how many were sent. The client's end of the link gets GRO, without which a veth swallows them.
//
// One flood of a host at a time; it answers nothing else while one waits for its end.
func (h *Host) Flood(t testing.TB, f Flood) (wait func() uint64) {
	t.Helper()
	if err := f.check(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	if h.router != nil {
		t.Fatalf("lab: host %v is not on the client's link", h.IPv4)
	}
	if _, err := h.net.client.execute(request{End: &end{Name: h.Device, GRO: true}}); err != nil {
		failOrSkip(t, fmt.Errorf("client: %w", err))
	}
	from, to := f.From, h.link.near4
	if !from.IsValid() {
		from = netip.PrefixFrom(h.IPv4, 32)
	}
	if from.Addr().Is6() {
		to = h.link.near6
	}
	f.From = from
	h.must(t, request{Flood: &flood{Flood: f, Client: to, ClientMAC: h.link.mac(1), MAC: h.MAC}})
	return func() uint64 {
		t.Helper()
		return h.must(t, request{Flooded: true}).Sent
	}
}

// A flood is a Flood and where it goes.
type flood struct {
	Flood
	Client         netip.Addr
	ClientMAC, MAC net.HardwareAddr
}

// A pouring is a flood under way.
type pouring struct {
	done chan struct{}
	sent uint64
	err  error
}

func (p *pouring) wait() (uint64, error) {
	if p == nil {
		return 0, fmt.Errorf("no flood was begun")
	}
	<-p.done
	return p.sent, p.err
}

// start loads the program and has it run.
func (f *flood) start() (*pouring, error) {
	device, err := index("eth0")
	if err != nil {
		return nil, err
	}
	spec, err := loadFlood()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables["flood"].Set(f.plan(device)); err != nil {
		return nil, err
	}
	var objects floodObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return nil, fmt.Errorf("load the flooding program: %w", err)
	}
	p := &pouring{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer objects.Close()
		p.err = f.run(objects.Pour)
		if err := objects.Sent.Get(&p.sent); err != nil && p.err == nil {
			p.err = err
		}
	}()
	return p, nil
}

// run has the kernel send the packets, a tenth of a second's at a time. A run takes some 25 ms beside the packets' own time.
func (f *flood) run(program *ebpf.Program) error {
	batch, start := min(f.Count, 1<<20), time.Now()
	if f.PerSecond > 0 {
		batch = min(batch, max(f.PerSecond/10, 1))
	}
	for sent := uint64(0); sent < f.Count; sent += batch {
		if f.PerSecond > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(float64(sent) / float64(f.PerSecond) * float64(time.Second)))))
		}
		frame := f.frame()
		if _, err := program.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(min(batch, f.Count-sent)), Flags: liveFrames}); err != nil {
			return fmt.Errorf("flood: %w", err)
		}
	}
	return nil
}

// plan is what the program is told.
func (f *flood) plan(device int) *floodFlood {
	plan := &floodFlood{Count: f.Count, Ifindex: uint32(device)}
	copy(plan.Frame[:], f.frame())
	addr := f.From.Addr().AsSlice()
	varies := min(f.From.Addr().BitLen()-f.From.Bits(), 32)
	plan.AddrMask = uint32(1<<varies - 1)
	plan.Addr = binary.BigEndian.Uint32(addr[len(addr)-4:]) &^ plan.AddrMask
	plan.Port, plan.Ports = f.Ports.span()
	plan.To, plan.Tos = f.To.span()
	if f.From.Addr().Is6() {
		plan.V6 = 1
	}
	return plan
}

// span is the first of the ports, and how many there are.
func (p Ports) span() (first, n uint32) {
	if p.all() {
		return 1, 65535
	}
	return uint32(p.First), uint32(p.Last-p.First) + 1
}

// frame is a SYN-ACK as Linux sends it, but for what the program fills in.
func (f *flood) frame() []byte {
	frame := append(append([]byte{}, f.ClientMAC...), f.MAC...)
	const size = 40 // of the TCP header, its options included
	from, to := f.From.Masked().Addr().AsSlice(), f.Client.AsSlice()
	if f.Client.Is4() {
		frame = append(frame, 0x08, 0x00, 0x45, 0, 0, 20+size, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0)
	} else {
		frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, 0, size, unix.IPPROTO_TCP, 64)
	}
	frame = append(append(frame, from...), to...)
	return append(frame,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, size/4<<4, byte(SYN|ACK), 0xfe, 0x88, 0, 0, 0, 0, // window 65160
		2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7) // MSS, SACK, timestamps, window scale
}
