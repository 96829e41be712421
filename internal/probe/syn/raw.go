package syn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"sonde/internal/packet"
	"sonde/internal/probe"
	"sonde/internal/route"
	"sonde/internal/sock"
)

// A Raw sends probes as packets that the kernel routes, and hears what comes in.
type Raw struct {
	codec *Codec
	table *route.Table
	conn  *sock.Raw
	own   map[netip.Addr]bool
	// trace, if not nil, sees every packet that goes out, and those that answer a probe.
	trace func(sent bool, packet []byte, at time.Time)

	syns  map[*route.Hop]*packet.SYN
	out   [][]byte  // packets of a batch
	about []int     // which probe each is
	space []byte    // they are in
	link  int       // the interface of those of them that are to link-local addresses
	short time.Time // since then this machine is short of something; zero: it is not

	began time.Time // of the clock in probes: the kernel's monotonic one
	heard packet.Datagram

	mu    sync.Mutex // guards the rest
	sent  time.Time
	until time.Time      // all that came before was heard
	zones map[int]string // of link-local addresses, by interface, as the targets have them
}

// NewRaw returns a wire that sends by table's routes over conn.
func NewRaw(codec *Codec, table *route.Table, conn *sock.Raw, trace func(sent bool, packet []byte, at time.Time)) (*Raw, error) {
	own, err := sock.OwnAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	const largest = packet.IPv6Size + packet.SYNSize
	return &Raw{codec: codec, table: table, conn: conn, own: own, trace: trace, syns: map[*route.Hop]*packet.SYN{}, zones: map[int]string{},
		space: make([]byte, 0, sock.RawBatch*largest), began: time.Now().Add(-sock.Monotonic())}, nil
}

// clock is the time in probes.
func (w *Raw) clock(at time.Time) uint32 { return uint32(at.Sub(w.began) / tick) }

// Send implements stateless.Wire.
func (w *Raw) Send(ctx context.Context, probes []probe.Probe, report func(probe.Result)) error {
	for len(probes) > 0 {
		n := min(len(probes), sock.RawBatch)
		if err := w.sendBatch(ctx, probes[:n], report); err != nil {
			return err
		}
		probes = probes[n:]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = time.Now()
	return nil
}

func (w *Raw) sendBatch(ctx context.Context, probes []probe.Probe, report func(probe.Result)) error {
	now := time.Now()
	clock := w.clock(now)
	for i := range probes {
		p := &probes[i]
		s, link, err := w.syn(p.Addr())
		if err != nil {
			report(unsent(p, err))
			continue
		}
		if link != 0 && link != w.link {
			if err := w.flush(ctx, probes, now, report); err != nil {
				return err
			}
			w.link = link
		}
		from := len(w.space)
		w.space = s.Append(w.space, w.codec.fields(p, clock))
		w.out, w.about = append(w.out, w.space[from:]), append(w.about, i)
	}
	return w.flush(ctx, probes, now, report)
}

// syn returns the template of the probes to an address, and the interface by which they leave where a zone says so.
func (w *Raw) syn(to netip.Addr) (syn *packet.SYN, link int, err error) {
	hop, err := w.table.Lookup(to)
	if err != nil {
		return nil, 0, err
	}
	if to.Zone() != "" {
		link = hop.Interface
		w.noteZone(link, to.Zone())
	}
	s := w.syns[hop]
	if s == nil {
		made := packet.NewSYN(hop.Source, mss(hop))
		s = &made
		w.syns[hop] = s
	}
	return s, link, nil
}

// mss is the largest segment that the way back takes (RFC 9293 section 3.7.1).
func mss(hop *route.Hop) uint16 {
	headers := packet.IPv4Size + packet.TCPSize
	if hop.Source.Is6() {
		headers = packet.IPv6Size + packet.TCPSize
	}
	return uint16(min(max(hop.MTU-headers, 0), 65535-headers))
}

func (w *Raw) noteZone(iface int, zone string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.zones[iface] = zone
}

// When this machine is short of something one tries again after a pause; after the limit the shortage is taken to last.
const (
	shortPause = time.Millisecond
	shortLimit = 5 * time.Second
)

// flush sends a batch. What cannot be sent is reported, and the others go on.
func (w *Raw) flush(ctx context.Context, probes []probe.Probe, now time.Time, report func(probe.Result)) error {
	out, about := w.out, w.about
	w.out, w.about, w.space = w.out[:0], w.about[:0], w.space[:0]
	for len(out) > 0 {
		n, err := w.conn.SendOn(w.link, out)
		w.traceAll(out[:n], now)
		if out, about = out[n:], about[n:]; err == nil || len(out) == 0 {
			w.short = time.Time{}
			continue
		}
		switch {
		case isGone(err), w.isShortForLong(err, n > 0):
			return fmt.Errorf("send a SYN to %v: %w", probes[about[0]].AddrPort, err)
		case sock.IsLimit(err):
			if err := pause(ctx, shortPause); err != nil {
				return err
			}
		default: // about this target only
			report(unsent(&probes[about[0]], err))
			out, about = out[1:], about[1:]
		}
	}
	return nil
}

// isShortForLong notes a shortage of this machine and says whether it has lasted, without anything that was sent, for too long.
func (w *Raw) isShortForLong(err error, sent bool) bool {
	switch {
	case !sock.IsLimit(err):
		w.short = time.Time{}
		return false
	case sent || w.short.IsZero():
		w.short = time.Now()
	}
	return time.Since(w.short) > shortLimit
}

func (w *Raw) traceAll(sent [][]byte, now time.Time) {
	if w.trace == nil {
		return
	}
	for _, p := range sent {
		w.trace(true, p, now)
	}
}

// isGone reports whether an error of sending means that nothing will ever leave: the interface is down, or no more there.
func isGone(err error) bool {
	return errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unsent returns the result of a probe that this machine could not send.
func unsent(p *probe.Probe, err error) probe.Result {
	return probe.Result{Target: p.Target, Method: probe.SYN, State: probe.Unsent, Reason: probe.LocalError, Attempt: p.Attempt, Control: p.Control, Err: err, Time: time.Now()}
}

// How often it is noted that all was heard, and looked whether the interfaces are up.
const (
	hearEvery = 50 * time.Millisecond
	lookEvery = 200 * time.Millisecond
)

// Receive implements stateless.Wire. It fails when an interface goes down by which probes leave: silence says nothing then.
func (w *Raw) Receive(ctx context.Context, report func(probe.Result)) error {
	looked := time.Time{}
	for {
		ended := ctx.Err() != nil
		if ended || time.Since(looked) > lookEvery {
			looked = time.Now()
			if err := w.table.Down(); err != nil || ended {
				return err
			}
		}
		deadline := time.Now().Add(hearEvery)
		if err := w.conn.SetReadDeadline(deadline); err != nil {
			return err
		}
		err := w.conn.Receive(func(b []byte, iface int, at time.Time) { w.hear(b, iface, at, report) })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		w.mu.Lock()
		w.until = deadline.Add(-sock.RawLag)
		w.mu.Unlock()
	}
}

// State implements stateless.Wire.
func (w *Raw) State() (sent, heard time.Time, lost uint64) {
	lost = w.conn.Lost()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent, w.until, lost
}

// hear judges a packet that came in.
func (w *Raw) hear(b []byte, iface int, at time.Time, report func(probe.Result)) {
	if !packet.Parse(b, &w.heard) {
		return
	}
	r, ok := w.codec.Parse(&w.heard, w.clock(at))
	if !ok {
		return
	}
	if w.trace != nil {
		w.trace(false, b, at)
	}
	r.Time = at
	if w.attribute(&r) {
		w.localise(&r, iface)
		report(r)
	}
}

// attribute settles who said what an ICMP error says. It returns false if this machine itself says that the next hop cannot be
// found, which is silence.
func (w *Raw) attribute(r *probe.Result) bool {
	switch {
	case r.From == r.Target.Addr():
		r.From = netip.Addr{}
	case !w.own[r.From]:
	case r.Reason == probe.HostUnreach:
		return false
	default:
		r.State, r.Err = probe.Unsent, fmt.Errorf("a rule of this machine refused to send: %s", r.Reason.Words())
		r.Reason = probe.LocalError
	}
	return true
}

// localise gives a link-local target the zone that it has in the scan.
func (w *Raw) localise(r *probe.Result, iface int) {
	if a := r.Target.Addr(); a.Is6() && a.IsLinkLocalUnicast() {
		w.mu.Lock()
		defer w.mu.Unlock()
		r.Target.AddrPort = netip.AddrPortFrom(a.WithZone(w.zones[iface]), r.Target.Port())
	}
}
