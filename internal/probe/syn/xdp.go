package syn

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/packet"
	"sonde/internal/probe"
	"sonde/internal/route"
	"sonde/internal/xdp"
)

// An XDP sends probes by an xdp.Engine where the way to their target is Ethernet and the link address of the next hop is known, and by
// its Raw elsewhere: that has the kernel ask for the address. What the engine leaves to the stack, the Raw hears.
type XDP struct {
	*Raw
	engine *xdp.Engine

	ways    map[way]entry
	missed  map[way]time.Time // ways that are not known: when to look again
	full    bool              // the engine takes no more routes
	recent  recent
	targets [2][]xdp.Target // by IPv4 and by IPv6
	others  []probe.Probe
}

// A way is a next hop: Link is not valid behind a gateway, where all addresses share it.
type way struct {
	hop  *route.Hop
	link netip.Addr
}

// An entry is what is known of a way.
type entry struct {
	number uint16
	usable bool
}

// recent is the stretch of addresses that the last target was in: of a large network mostly all are.
type recent struct {
	first, last netip.Addr
	entry       entry // of its gateway
}

// has reports whether an address is in the stretch, and its way is known with it.
func (r *recent) has(a netip.Addr) bool {
	return r.entry.usable && r.first.Compare(a) <= 0 && a.Compare(r.last) <= 0
}

const (
	lookAgain  = 100 * time.Millisecond // how often it is looked whether a neighbour is known by now
	mostMissed = 1 << 16                // neighbours that are not known, kept so as not to look each time
)

// NewXDP returns a wire that sends by an engine, and what that cannot by raw.
func NewXDP(raw *Raw, engine *xdp.Engine) *XDP {
	return &XDP{Raw: raw, engine: engine, ways: map[way]entry{}, missed: map[way]time.Time{}}
}

// Prepare makes the way to an address ready, and names the interface. The error says why it cannot be gone by XDP.
func (w *XDP) Prepare(ctx context.Context, to netip.Addr) (iface string, err error) {
	hop, err := w.table.Lookup(to)
	if err != nil {
		return "", err
	}
	if !hop.Ethernet || hop.Local {
		return "", fmt.Errorf("%s is no Ethernet: %w", hop.Name, errors.ErrUnsupported)
	}
	if !hop.Gateway.IsValid() { // the neighbours are met as they come
		err := w.engine.Attach(hop.Interface, hop.Link)
		return w.name(hop), named(hop, err)
	}
	link, err := w.table.Resolve(ctx, hop, to)
	if err != nil {
		return "", err
	}
	e, err := w.open(hop, link)
	if err == nil {
		w.ways[wayTo(hop, to)] = e
	}
	return w.name(hop), named(hop, err)
}

// name names the interface of a hop, and says if its driver has no XDP of its own.
func (w *XDP) name(hop *route.Hop) string {
	if w.engine.Native(hop.Interface) {
		return hop.Name
	}
	return hop.Name + " (behind the driver, which is slower)"
}

func named(hop *route.Hop, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", hop.Name, err)
	}
	return nil
}

func wayTo(hop *route.Hop, to netip.Addr) way {
	if hop.Gateway.IsValid() {
		return way{hop: hop}
	}
	return way{hop, to}
}

// open gives the engine a route.
func (w *XDP) open(hop *route.Hop, link [6]byte) (entry, error) {
	s := packet.NewSYN(hop.Source, mss(hop))
	t := s.Template()
	// The engine adds words as they stand in memory: a sum of swapped words is the swapped sum (RFC 1071 section 2).
	n, err := w.engine.Use(xdp.Route{Interface: hop.Interface, From: hop.Link, To: link, Packet: t.Packet,
		IPSum: uint32(bits.ReverseBytes16(t.IPSum)), TCPSum: uint32(bits.ReverseBytes16(t.TCPSum))})
	return entry{number: n, usable: err == nil}, err
}

// Send implements stateless.Wire.
func (w *XDP) Send(ctx context.Context, probes []probe.Probe, report func(probe.Result)) error {
	w.targets[0], w.targets[1], w.others = w.targets[0][:0], w.targets[1][:0], w.others[:0]
	now := time.Now()
	for i := range probes {
		p := &probes[i]
		number, ok := w.route(p.Addr(), now)
		if !ok {
			w.others = append(w.others, *p)
			continue
		}
		family := 0
		if p.Addr().Is6() {
			family = 1
		}
		w.targets[family] = append(w.targets[family], xdp.Target{AddrPort: p.AddrPort, Cookie: uint64(w.codec.mark(p.AddrPort)), Route: number, Attempt: p.Attempt & attemptMask})
	}
	for _, targets := range w.targets {
		if err := w.engine.Send(ctx, targets); err != nil {
			return err
		}
	}
	return w.Raw.Send(ctx, w.others, report)
}

// route returns the engine's route to an address, false if it has none.
func (w *XDP) route(to netip.Addr, now time.Time) (uint16, bool) {
	if to.Zone() != "" {
		return 0, false
	}
	if w.recent.has(to) {
		return w.recent.entry.number, true
	}
	hop, first, last, err := w.table.Stretch(to)
	if err != nil || !hop.Ethernet || hop.Local {
		return 0, false
	}
	e := w.meet(hop, to, now)
	if hop.Gateway.IsValid() {
		w.recent = recent{first, last, e}
	}
	return e.number, e.usable
}

// meet returns what is known of the way to an address by a hop, and looks now and then whether it is known by now. Only interfaces that
// were made ready are used: to try another one now would disturb what is sent.
func (w *XDP) meet(hop *route.Hop, to netip.Addr, now time.Time) entry {
	key := wayTo(hop, to)
	if e, known := w.ways[key]; known {
		return e
	}
	if again, missed := w.missed[key]; w.full || missed && now.Before(again) || !w.engine.Attached(hop.Interface) {
		return entry{}
	}
	if link, ok := w.table.Neighbor(hop, to); ok {
		e, err := w.open(hop, link)
		if err == nil {
			w.ways[key] = e
			return e
		}
		w.full = w.full || errors.Is(err, xdp.ErrTooMany)
	}
	if len(w.missed) >= mostMissed {
		clear(w.missed)
	}
	w.missed[key] = now.Add(lookAgain)
	return entry{}
}

// Receive implements stateless.Wire. What the engine leaves to the stack comes by the Raw.
func (w *XDP) Receive(ctx context.Context, report func(probe.Result)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Raw.Receive(ctx, report) })
	g.Go(func() error {
		return w.engine.Receive(ctx, func(a xdp.Answer) { report(w.result(a)) })
	})
	return g.Wait()
}

// result puts an answer that the engine heard into the words of a scan.
func (w *XDP) result(a xdp.Answer) probe.Result {
	r := probe.Result{Target: probe.Target{AddrPort: a.From}, Method: probe.SYN, State: probe.Closed, Reason: probe.Reset, TTL: a.TTL,
		Attempt: a.Attempt, RTT: a.RTT, Time: a.Time}
	if a.SynAck {
		r.State, r.Reason = probe.Open, probe.SynAck
	}
	w.localise(&r, a.Interface)
	return r
}

// State implements stateless.Wire.
func (w *XDP) State() (sent, heard time.Time, lost uint64) {
	sent, heard, lost = w.Raw.State()
	s := w.engine.State()
	if s.Sent.After(sent) {
		sent = s.Sent
	}
	if s.Heard.Before(heard) {
		heard = s.Heard
	}
	return sent, heard, lost + s.Dropped
}
