package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sonde/internal/pace"
	"sonde/internal/probe/connect"
	"sonde/internal/report"
	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// What public networks get when the user sets no limit: enough to be useful, too little to be a nuisance.
const (
	publicRate    = 1000
	publicPerHost = 100
)

// A span of a scan is written and forgotten when it is over. The larger it is, the less often its last
// silent ports are waited for alone; the smaller, the sooner it is on the screen, and gone from memory.
const (
	largestSpan  = 1 << 19
	smallestSpan = 1 << 16
	spanTime     = time.Minute
)

// A scanner is the scan command with its flags.
type scanner struct {
	*app
	selection
	timeout     time.Duration
	attempts    uint8
	concurrency int
	rate        float64
	seed        uint64
	iface       string
	sources     []string
	out         outputs
	openOnly    bool

	source4, source6 netip.Addr
}

func (a *app) scanCommand() *cobra.Command {
	s := &scanner{app: a, timeout: time.Second}
	return s.command()
}

func (s *scanner) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan [flags] [TARGET…]",
		Short: "Tell which TCP ports answer, and how it is known",
		Long: `Scan TCP ports by connecting to them, which needs no privileges.

A target is a name, an address, a prefix (192.0.2.0/24: every address of it) or a range
(192.0.2.1-20), and may have its own ports, which then count instead of --ports:
example.com:22,80-90  [::1]:22. The same host named twice has the ports of both times.

Each port is open (it accepted), closed (the host refused by a reset) or filtered (a firewall
or router said so by ICMP, or nobody said anything), with its reason. Silent ports are asked again, at
most --attempts times; a third time only if the second heard anything at all.

Loopback, private and special-purpose addresses are scanned as fast as this machine bears.
Public ones get at most 1,000 probes a second and 100 connections at once to each host, unless
--rate and --concurrency say otherwise.

An output FILE has its name when it is whole; until then, and after an interruption, it is FILE.partial.
SIGUSR1 prints how far it is. NO_COLOR in the environment keeps colours off a terminal.

Exit codes: 0 the scan ran, whatever it found; 1 it failed, or a name could not be resolved;
2 misused; 128 and its number for a signal (Ctrl-C: 130).`,
		Example: `  sonde scan --host localhost --ports 22,80,443
  sonde scan 192.0.2.0/24 -p top:20 --open
  sonde scan db.example:5432 web.example:80,443 -o json=scan.json -o text`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.hosts = append(s.hosts, args...)
			return s.run(cmd.Flags().Changed)
		},
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&s.hosts, "host", nil, "scan this `TARGET`; may be repeated")
	f.StringArrayVarP(&s.ports, "ports", "p", nil, "scan these `PORTS`: 80,22,443  1-1024  http  top:N  - or all; may be repeated (default top:100)")
	f.StringArrayVar(&s.excludePorts, "exclude-ports", nil, "do not scan these `PORTS` on any host; may be repeated")
	f.StringArrayVar(&s.files, "targets", nil, "read targets from `FILE`, - for standard input; may be repeated")
	f.StringArrayVar(&s.exclude, "exclude", nil, "do not scan these `TARGETS`, with commas between; may be repeated")
	f.BoolVar(&s.all, "all-addresses", false, "scan every address of a name, not the first only")
	f.BoolVarP(&s.only4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&s.only6, "ipv6", "6", false, "IPv6 only")
	f.Var(seconds{&s.timeout, time.Microsecond}, "timeout", "wait so long for an answer, at each attempt")
	f.Uint8Var(&s.attempts, "attempts", 4, "ask a silent port at most `N` times")
	f.IntVar(&s.concurrency, "concurrency", 0, "at most `N` connections at once (default: what this machine bears)")
	f.Float64Var(&s.rate, "rate", 0, "at most `N` probes a second (default: no limit, but for public addresses)")
	f.Uint64Var(&s.seed, "seed", 0, "probe in the order that `N` fixes (default: drawn)")
	f.StringVar(&s.iface, "interface", "", "leave by the interface `NAME` only (Linux)")
	f.StringArrayVar(&s.sources, "source", nil, "come from `ADDR`, one of this machine's; may be given once for each family")
	f.VarP(&s.out, "output", "o", "write text or json, to standard output or to a file; may be repeated (default text)")
	f.BoolVar(&s.openOnly, "open", false, "show open ports only")
	return cmd
}

// run is the command: everything is checked before anything is sent.
func (s *scanner) run(given func(flag string) bool) error {
	if err := s.check(given); err != nil {
		return err
	}
	specs, err := s.specs(s.in) // before signals are ours: reading what is typed ends by Ctrl-C as anywhere
	if err != nil {
		return err
	}
	ctx, stop := endedBySignal(context.Background())
	defer stop()
	waiting := time.AfterFunc(dialNotice, func() { s.note("still resolving names") })
	found, err := s.find(ctx, specs)
	waiting.Stop()
	if err != nil {
		return signalOr(context.Cause(ctx), err)
	}
	if err := s.checkFamilies(found); err != nil {
		return err
	}
	for _, err := range found.unresolved {
		_ = s.exit(failure(err))
	}
	for _, text := range found.unscanned {
		s.note("%s", text)
	}
	if found.local.Len()+found.public.Len() == 0 {
		if len(found.unresolved) > 0 {
			return exitWith(exitFailed)
		}
		return misuse(errors.New("nothing is left to scan: --exclude covers every target"))
	}
	if !given("seed") {
		s.seed = rand.Uint64()
	}
	err = s.scan(ctx, found)
	if err == nil && len(found.unresolved) > 0 {
		return exitWith(exitFailed)
	}
	return err
}

// check refuses flags that make no sense.
func (s *scanner) check(given func(flag string) bool) error {
	switch {
	case s.only4 && s.only6:
		return misuse(errors.New("-4 and -6 exclude each other"), "leave both out to scan both families")
	case s.attempts < 1:
		return misuse(errors.New("--attempts must be at least 1"))
	case s.concurrency < 0 || s.concurrency == 0 && given("concurrency"):
		return misuse(errors.New("--concurrency must be at least 1"))
	case given("rate") && !(s.rate > 0):
		return misuse(errors.New("--rate must be more than 0"), "leave it out for no limit")
	case s.rate > 1e9:
		return misuse(errors.New("--rate must be at most 1,000,000,000"), "leave it out for no limit")
	}
	if s.iface != "" {
		if runtime.GOOS != "linux" {
			return misuse(errors.New("--interface needs Linux"), "name the interface's address with --source")
		}
		if err := checkInterface(s.iface); err != nil {
			return err
		}
	}
	return s.checkSources()
}

func checkInterface(name string) error {
	if _, err := net.InterfaceByName(name); err == nil {
		return nil
	}
	var names []string
	all, _ := net.Interfaces() // without them the hint is shorter
	for _, i := range all {
		names = append(names, i.Name)
	}
	return misuse(fmt.Errorf("there is no interface %s", name), "there are "+strings.Join(names, ", "))
}

func (s *scanner) checkSources() error {
	if len(s.sources) == 0 {
		return nil
	}
	own, err := sock.OwnAddrs()
	if err != nil {
		return err
	}
	for _, text := range s.sources {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return misuse(fmt.Errorf("--source %q is no address", text), "name one of this machine's addresses")
		}
		a = a.Unmap()
		if !own[a.WithZone("")] && !a.IsLoopback() {
			return misuse(fmt.Errorf("--source %s is no address of this machine", a), "its addresses are "+ownList(own))
		}
		slot := &s.source4
		if a.Is6() {
			slot = &s.source6
		}
		if slot.IsValid() {
			return misuse(fmt.Errorf("--source %s and %s are of one family", *slot, a), "give one for IPv4 and one for IPv6")
		}
		*slot = a
	}
	return nil
}

// checkFamilies refuses a --source that some target cannot be reached from.
func (s *scanner) checkFamilies(f *found) error {
	if len(s.sources) == 0 {
		return nil
	}
	if s.source4.IsLoopback() && f.public.Len() > 0 {
		return misuse(fmt.Errorf("--source %s cannot reach %s", s.source4, f.public.Host(0)), "loopback addresses reach this machine only")
	}
	for _, space := range []target.Space{f.local, f.public} {
		if space.Len() == 0 {
			continue
		}
		// Addresses ascend, IPv4 first.
		if first := space.Host(0); first.Is4() && !s.source4.IsValid() {
			return misuse(fmt.Errorf("--source %s cannot reach %s", s.source6, first), "give an IPv4 source too, or scan IPv6 only with -6")
		}
		if last := space.Host(space.Hosts() - 1); last.Is6() && !s.source6.IsValid() {
			return misuse(fmt.Errorf("--source %s cannot reach %s", s.source4, last), "give an IPv6 source too, or scan IPv4 only with -4")
		}
	}
	return nil
}

func ownList(own map[netip.Addr]bool) string {
	var addrs []netip.Addr
	for a := range own {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return joinAddrs(addrs)
}

// A stage is one plan and who carries it out.
type stage struct {
	plan   scan.Plan
	prober scan.Prober
	spans  uint64 // targets in each span
}

// scan carries out what was found, the addresses nearby first, and reports.
func (s *scanner) scan(ctx context.Context, found *found) error {
	targets, hosts := found.local.Len()+found.public.Len(), found.local.Hosts()+found.public.Hosts()
	meter := &scan.Meter{}
	line := s.newProgress(meter, targets)
	stdout := interruptible(s.app.out)
	out, err := s.out.open(line.over(stdout), s.options(found))
	if err != nil {
		return err
	}
	// A reader that does not read must not keep a scan that was interrupted; one that does has time for what was found.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, func() { _ = stdout.Close() }) })()
	start := time.Now()
	line.start()
	total := scan.Summary{Complete: true}
	for _, stage := range s.stages(found, line) {
		if err = stage.run(ctx, out, meter, &total); err != nil {
			break
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	line.close()
	total.Elapsed = time.Since(start)
	total.Undecided += targets - total.Targets // of the spans that were not begun
	total.Targets, total.Hosts = targets, hosts
	return s.finish(out, total, err)
}

func (s *scanner) options(found *found) report.Options {
	tty := term.IsTerminal(int(s.app.out.Fd()))
	return report.Options{OpenOnly: s.openOnly, Verbose: s.verbose, Names: found.names, Color: tty && os.Getenv("NO_COLOR") == ""}
}

// stages makes a plan for the addresses nearby and one for the public ones, as far as there are any.
func (s *scanner) stages(found *found, line *progress) []stage {
	var stages []stage
	if found.local.Len() > 0 {
		stages = append(stages, s.stage(found.local, s.rate, 0, line))
	}
	if found.public.Len() > 0 {
		rate, perHost := s.rate, 0
		var limits []string
		if rate == 0 {
			rate = publicRate
			limits = append(limits, "1,000 probes a second (--rate)")
		}
		if s.concurrency == 0 {
			perHost = publicPerHost
			limits = append(limits, "100 connections at once to each host (--concurrency)")
		}
		if len(limits) > 0 {
			s.note("public addresses get at most %s", strings.Join(limits, " and "))
		}
		stages = append(stages, s.stage(found.public, rate, perHost, line))
	}
	if s.verbose {
		s.note("the order of probing is that of --seed %d", s.seed)
	}
	return stages
}

func (s *scanner) stage(space target.Space, rate float64, perHost int, line *progress) stage {
	// The kernel sends a SYN again each second by itself: those count as attempts, and for the rate.
	repeats := uint64((s.timeout + time.Second - 1) / time.Second)
	rate /= float64(repeats)
	plan := scan.NewPlan(space, s.seed)
	plan.Attempts, plan.Timeout = uint8(max(1, uint64(s.attempts)/repeats)), s.timeout
	spans := uint64(largestSpan)
	if rate > 0 {
		plan.Rate = pace.NewRate(rate)
		spans = max(smallestSpan, min(spans, uint64(rate*spanTime.Seconds())))
	}
	return stage{plan: plan, spans: spans, prober: &connect.Prober{
		Timeout: s.timeout, Concurrency: s.concurrency, PerHost: perHost,
		Source4: s.source4, Source6: s.source6, Interface: s.iface,
		OnShortage: func(err error) {
			line.hide()
			s.warn("%v: the scan goes on with fewer connections at once", err)
		},
	}}
}

// run carries out a stage, span by span, and adds up what came of it.
func (st *stage) run(ctx context.Context, out *tee, meter *scan.Meter, total *scan.Summary) error {
	for span := range st.plan.Spans(st.spans) {
		summary, err := scan.Run(ctx, st.plan, span, st.prober, out, meter)
		*total = total.Add(summary)
		if werr := out.span(&summary); err == nil {
			err = werr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish closes the outputs and gives the scan's ending its exit code.
func (s *scanner) finish(out *tee, total scan.Summary, err error) error {
	total.Complete = total.Complete && err == nil && total.Undecided == 0
	var sig signalError
	if cerr := out.close(total, err == nil); err == nil {
		err = cerr
	}
	switch {
	case errors.Is(err, sock.ErrBrokenPipe):
		if left := out.leftPartial(); left != "" {
			return failure(errors.New("the reader of standard output went away before the end" + left))
		}
		return nil // the reader has had enough
	case errors.As(err, &sig):
		s.note("%v: this is what was found until then%s", sig, out.leftPartial())
		return exitWith(128 + int(sig))
	case err != nil:
		return failure(err)
	case total.LocalErr != nil && total.Undecided > 0:
		return failure(fmt.Errorf("%s could not be asked: %w", quantity(total.Undecided, "port"), total.LocalErr),
			"this says nothing of the target: look at this machine's routes, addresses and firewall ('ip route get ADDRESS')")
	}
	return nil
}
