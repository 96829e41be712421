//go:build !mips && !mips64 && !ppc64 && !s390x

package xdp

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Use makes a route one that targets can name, and attaches the program to its interface.
func (e *Engine) Use(r Route) (uint16, error) {
	if e.routes == mostRoutes-1 { // the last is the trial's
		return 0, ErrTooMany
	}
	if err := e.Attach(r.Interface, r.From); err != nil {
		return 0, err
	}
	if err := e.put(e.routes, encode(r, true)); err != nil {
		return 0, err
	}
	e.routes++
	return uint16(e.routes - 1), nil
}

// Attached reports whether the program is on an interface.
func (e *Engine) Attached(iface int) bool { return e.links[iface] != nil }

// Native reports whether the program is attached to an interface in its driver, rather than behind it.
func (e *Engine) Native(iface int) bool {
	a := e.links[iface]
	return a != nil && a.native
}

func (e *Engine) put(index int, r bpfRoute) error {
	if err := e.objects.Routes.Put(uint32(index), &r); err != nil {
		return fmt.Errorf("give a route to the XDP program: %w", err)
	}
	return nil
}

// encode writes a route as the program takes it: the frame of a SYN, or of an Ethernet type that nobody takes.
func encode(r Route, probe bool) (b bpfRoute) {
	frame := slices.Concat(r.To[:], r.From[:], etherType(r.Packet, probe), r.Packet)
	copy(b.Frame[:], frame)
	b.IpSum, b.TcpSum, b.Ifindex = r.IPSum, r.TCPSum, uint32(r.Interface)
	return b
}

func etherType(packet []byte, probe bool) []byte {
	switch {
	case !probe:
		return []byte{0x88, 0xb5} // for local experiments (IEEE Std 802, 9.2.4)
	case packet[0]>>4 == 6:
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

// Attach puts the program on an interface with that link address, in its driver or else behind it, unless it is there, and sees whether
// the driver sends what it is given. Its errors wrap ErrTaken, ErrSwallows, or what the kernel said.
func (e *Engine) Attach(iface int, from [6]byte) error {
	if e.links[iface] != nil {
		return nil
	}
	a := &attachment{native: true}
	var err error
	if a.link, err = e.attachAs(iface, link.XDPDriverMode); err != nil && !isTaken(err) {
		a.native = false
		a.link, err = e.attachAs(iface, link.XDPGenericMode)
	}
	if isTaken(err) {
		return fmt.Errorf("%w (%w)", ErrTaken, err)
	}
	if err != nil {
		return fmt.Errorf("attach the XDP program: %w", err)
	}
	if err := e.try(iface, from); err != nil {
		return errors.Join(err, a.link.Close())
	}
	c, err := readCounters(iface)
	if err != nil {
		return errors.Join(err, a.link.Close())
	}
	a.drops = c.drops
	e.note(func() { e.links[iface] = a })
	return nil
}

func (e *Engine) attachAs(iface int, mode link.XDPAttachFlags) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Program: e.objects.Probe, Interface: iface, Flags: mode})
}

// isTaken reports whether an attachment failed because of another (net/core/dev.c, dev_xdp_attach).
func isTaken(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

const (
	trialFrames = 64
	trialTime   = 2 * time.Second // some drivers' counters are read from the hardware once a second
)

// try sends some frames to ourselves, of a kind that nobody takes, and sees by the interface's counter whether they left: a veth whose
// peer has neither XDP nor GRO drops them without a word.
func (e *Engine) try(iface int, from [6]byte) error {
	if err := e.put(mostRoutes-1, encode(Route{Interface: iface, From: from, To: from}, false)); err != nil {
		return err
	}
	before, err := readCounters(iface)
	if err != nil {
		return err
	}
	if err := e.trial(); err != nil {
		return err
	}
	for begun := time.Now(); time.Since(begun) < trialTime; time.Sleep(5 * time.Millisecond) {
		now, err := readCounters(iface)
		if err != nil {
			return err
		}
		if now.sent-before.sent >= trialFrames {
			return nil
		}
	}
	return ErrSwallows
}

// trial sends the frames.
func (e *Engine) trial() error {
	targets := make([]bpfTarget, trialFrames)
	for i := range targets {
		targets[i].Route = mostRoutes - 1
	}
	for i := range targets {
		if err := e.objects.Targets.Update(uint32(i), &targets[i], ebpf.UpdateAny); err != nil {
			return fmt.Errorf("hand targets to the XDP program: %w", err)
		}
	}
	return e.run(run{first: 0, n: trialFrames, frame: frame4})
}

// counters are those of an interface that matter here.
type counters struct {
	sent  uint64
	drops uint64 // for want of room in its queues, out or in
}

// readCounters reads the counters of an interface. What it received and nobody wanted counts as dropped, too, but with veth, which has no other
// word for a queue that was full.
func readCounters(iface int) (c counters, err error) {
	l, err := netlink.LinkByIndex(iface)
	if err != nil {
		return c, fmt.Errorf("read the counters of interface %d: %w", iface, err)
	}
	s := l.Attrs().Statistics
	c = counters{sent: s.TxPackets, drops: s.TxDropped + s.RxMissedErrors + s.RxFifoErrors + s.RxOverErrors}
	if l.Type() == "veth" {
		c.drops += s.RxDropped
	}
	return c, nil
}
