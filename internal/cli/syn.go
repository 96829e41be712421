package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"sonde/internal/pace"
	"sonde/internal/packet"
	"sonde/internal/probe"
	"sonde/internal/probe/stateless"
	"sonde/internal/probe/syn"
	"sonde/internal/route"
	"sonde/internal/sock"
	"sonde/internal/target"
	"sonde/internal/xdp"
)

// An engine is --engine: who sends the SYNs of a scan.
type engine string

const (
	engineAuto engine = "auto"
	engineRaw  engine = "raw"
	engineXDP  engine = "xdp"
)

func (e *engine) String() string { return string(*e) }

func (e *engine) Type() string { return "ENGINE" }

// Set implements pflag.Value.
func (e *engine) Set(text string) error {
	for _, known := range []engine{engineAuto, engineRaw, engineXDP} {
		if text == string(known) {
			*e = known
			return nil
		}
	}
	return fmt.Errorf("%q is no engine; there are %s, %s and %s", text, engineAuto, engineRaw, engineXDP)
}

// What makes the XDP engine worth its while: below it raw sockets are as good.
const (
	xdpTargets = 100_000
	xdpRate    = 20_000
)

// sourcePorts is how many ports SYNs come from, chosen by the target: what answers one tells a little more than that it came.
const sourcePorts = 16

// checkSYN refuses flags of SYN scans where there is none, or where they contradict each other.
func (s *scanner) checkSYN(given func(flag string) bool) error {
	for _, flag := range []string{"engine", "source-port", "packet-trace"} {
		if given(flag) && !s.syn {
			return misuse(fmt.Errorf("--%s needs --method syn", flag), "leave it out, or add --method syn")
		}
	}
	switch {
	case given("source-port") && s.sourcePort == 0:
		return misuse(errors.New("--source-port 0: a port from 1 to 65535 is needed"), "leave it out for ports that are free")
	case s.trace && s.engine == engineXDP:
		return misuse(errors.New("--packet-trace cannot see what --engine xdp sends in the kernel"), "trace with --engine raw")
	}
	return nil
}

// halfOpen is what a SYN scan has open.
type halfOpen struct {
	wire  stateless.Wire
	codec *syn.Codec
	ports *sock.Ports
	raw   *sock.Raw
	xdp   *xdp.Engine // nil with raw sockets only
	procs int         // GOMAXPROCS before; 0: as it was
}

// openSYN opens what the SYN probes of a scan need, if it has any, and tells which engine it took. The caller closes it.
func (s *scanner) openSYN(ctx context.Context, f *found) error {
	if !s.syn || !f.local.Has(probe.TCP) && !f.public.Has(probe.TCP) {
		return nil
	}
	h, err := s.openHalf(ctx, f)
	if err != nil {
		h.close()
		return err
	}
	s.open = h
	return nil
}

func (s *scanner) openHalf(ctx context.Context, f *found) (h *halfOpen, err error) {
	h = &halfOpen{}
	table, err := s.routes(f)
	if err != nil {
		return h, err
	}
	first, last := s.sourcePort, s.sourcePort
	if first == 0 {
		if h.ports, err = sock.HoldPorts(sourcePorts, 0); err != nil {
			return h, failure(fmt.Errorf("hold ports to send from: %w", err), "give one that is free: --source-port 40000")
		}
		first, last = h.ports.First(), h.ports.First()+sourcePorts-1
	} else if h.ports, err = sock.HoldPorts(1, first); err != nil {
		return h, failure(fmt.Errorf("--source-port %d: %w", first, err), "name one that no program here uses")
	}
	if h.codec, err = syn.NewCodec(first, last-first+1); err != nil {
		return h, err
	}
	h.raw, err = sock.OpenRaw(sock.RawConfig{Interface: s.iface, Source4: s.source4, Source6: s.source6, First: first, Last: last})
	if err != nil {
		return h, rawError(err)
	}
	raw, err := syn.NewRaw(h.codec, table, h.raw, s.packetTrace())
	if err != nil {
		return h, err
	}
	h.wire = raw
	return h, s.chooseEngine(ctx, h, raw, table, f)
}

// rawError says what is to be done where raw sockets cannot be had.
func rawError(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return failure(err)
	}
	program, perr := os.Executable()
	if perr != nil {
		program = "sonde"
	}
	return failure(fmt.Errorf("--method syn needs raw sockets: %w", err),
		"give this program the right to them: sudo setcap cap_net_raw+ep "+program,
		"'sonde doctor' tells what --engine xdp needs besides, and where no right helps",
		"or scan without privileges: --method connect")
}

// mostStretches is how many stretches of addresses, each with a way of its own, are looked at before a scan begins.
const mostStretches = 4096

// routes reads the routes, refuses a scan whose every target has none, and tells where some have none.
func (s *scanner) routes(f *found) (*route.Table, error) {
	table, err := route.Open(route.Config{Interface: s.iface, Source4: s.source4, Source6: s.source6})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, misuse(errors.New("--method syn needs Linux"), "scan by --method connect: it needs no raw sockets")
	}
	if err != nil {
		return nil, failure(err)
	}
	var none error // what was said of the first address without a way
	var first netip.Addr
	some := false
	for a, err := range ways(table, f) {
		if some = some || err == nil; err != nil && none == nil {
			none, first = err, a
		}
	}
	switch {
	case none == nil:
	case some:
		s.warn("%v, for one, cannot be sent to: %v; such ports stay without a verdict", first, none)
	default:
		return nil, failure(fmt.Errorf("%v cannot be sent to: %w", first, none), fmt.Sprintf("see 'ip route get %v'", first.WithZone("")))
	}
	return table, nil
}

// ways yields a first address of each stretch of targets that has one way, as far as they are few.
func ways(table *route.Table, f *found) func(yield func(netip.Addr, error) bool) {
	return func(yield func(netip.Addr, error) bool) {
		n := 0
		for _, space := range []target.Space{f.local, f.public} {
			for first, last := range space.Runs() {
				for a, err := range table.Ways(first, last) {
					if n++; !yield(a, err) || n == mostStretches {
						return
					}
				}
			}
		}
	}
}

// chooseEngine takes the XDP engine where it can be had and is worth it, and says why or why not.
func (s *scanner) chooseEngine(ctx context.Context, h *halfOpen, raw *syn.Raw, table *route.Table, f *found) error {
	targets := f.local.Len() + f.public.Len()
	p, _ := s.pacing(f.local.Len() == 0)
	var why string
	switch {
	case s.engine == engineRaw:
		why = "as asked"
	case s.engine == engineAuto && s.trace:
		why = "--packet-trace sees every packet"
	case s.engine == engineAuto && (targets < xdpTargets || p.rate > 0 && p.rate < xdpRate):
		why = "the scan is too small, or too slow, to gain by XDP"
	default:
		err := s.openXDP(ctx, h, raw, table, f)
		if err == nil {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if s.engine == engineXDP {
			return failure(fmt.Errorf("--engine xdp cannot be had: %w", err), xdpHint(err), "or use raw sockets: --engine raw")
		}
		why = fmt.Sprintf("not by XDP: %v", err)
	}
	s.note("engine: raw sockets (%s)", why)
	return nil
}

// xdpHint is the next step where XDP cannot be had.
func xdpHint(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return "it needs root, or CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON: see 'sonde doctor'"
	case errors.Is(err, xdp.ErrTaken):
		return "see who has it: ip -details link show"
	case errors.Is(err, xdp.ErrSwallows):
		return "where it is one end of a veth pair, the other end needs GRO: ethtool -K DEVICE gro on"
	}
	return "see 'sonde doctor'"
}

// prepareTime is how long the next hops' link addresses are waited for.
const prepareTime = 3 * time.Second

// openXDP opens the XDP engine and makes the ways to the targets ready.
func (s *scanner) openXDP(ctx context.Context, h *halfOpen, raw *syn.Raw, table *route.Table, f *found) error {
	var err error
	if h.xdp, err = xdp.Open(xdp.Config{Key: h.codec.Key, FirstPort: h.codec.FirstPort, Ports: h.codec.Ports}); err != nil {
		return err
	}
	wire := syn.NewXDP(raw, h.xdp)
	ctx, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	var used []string
	var refused error
	for a, err := range ways(table, f) {
		if err != nil {
			continue // it was told
		}
		name, err := wire.Prepare(ctx, a)
		switch {
		case err != nil:
			refused = err
		case !slices.Contains(used, name):
			used = append(used, name)
		}
	}
	if len(used) == 0 {
		h.closeXDP()
		return refused
	}
	h.wire = wire
	// A goroutine that comes back from the kernel needs a place to run at once; Go has no more of them than processors.
	h.procs = runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	text := "engine: XDP on " + strings.Join(used, ", ")
	if refused != nil {
		text += fmt.Sprintf("; raw sockets elsewhere (%v)", refused)
	}
	s.note("%s", text)
	return nil
}

// tellStrangers tells how much came that answers none of the probes, and counts as nothing.
func (s *scanner) tellStrangers() {
	if s.open == nil || !s.verbose {
		return
	}
	if n := s.open.codec.Strangers(); n > 0 {
		s.note("%s came that answer no probe of this scan, and count as nothing", quantity(n, "packet"))
	}
	if s.open.xdp != nil {
		if n := s.open.xdp.State().Overflows; n > 0 {
			s.note("%s found the kernel's ring full, and went up the stack instead", quantity(n, "answer"))
		}
	}
}

func (h *halfOpen) closeXDP() {
	if h.xdp != nil {
		_ = h.xdp.Close() // the kernel takes back what is left when we end
		h.xdp = nil
	}
}

func (h *halfOpen) close() {
	if h == nil {
		return
	}
	h.closeXDP()
	if h.procs > 0 {
		runtime.GOMAXPROCS(h.procs)
	}
	if h.raw != nil {
		_ = h.raw.Close()
	}
	if h.ports != nil {
		_ = h.ports.Close()
	}
}

// prober is who sends the SYNs of a zone.
func (h *halfOpen) prober(rate *pace.Rate, limit float64) *stateless.Prober {
	return &stateless.Prober{Wire: h.wire, Rate: rate, Limit: limit}
}

// packetTrace returns what prints every packet, nil without --packet-trace.
func (s *scanner) packetTrace() func(sent bool, b []byte, at time.Time) {
	if !s.trace {
		return nil
	}
	begun := time.Now()
	return func(sent bool, b []byte, at time.Time) {
		word := "received"
		if sent {
			word = "sent"
		}
		var d packet.Datagram
		packet.Parse(b, &d)
		fmt.Fprintf(s.err, "%9.4f %-8s %s\n", at.Sub(begun).Seconds(), word, &d)
	}
}
