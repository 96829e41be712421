package cli

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What public networks get when the user sets no limit: enough to be useful, too little to be a nuisance.
const (
	publicRate    = 1000
	publicPerHost = 100
)

// synRate is how fast SYNs go to addresses nearby when the user sets no limit: the engine could fill a network that somebody else
// uses, too.
const synRate = 100_000

// A span of a scan is written and forgotten when it is over. The larger it is, the less often its last
// silent ports are waited for alone; the smaller, the sooner it is on the screen, and gone from memory.
const (
	largestSpan  = 1 << 19
	smallestSpan = 1 << 16
	spanTime     = time.Minute
	// One of SYNs, which wait for nothing but its end.
	largestSYNSpan = 1 << 22
)

// A scanner is the scan command with its flags.
type scanner struct {
	*app
	selection
	timeout     time.Duration
	attempts    uint8
	concurrency int
	rate        rate
	maxPerHost  float64 // probes a second; 0: no limit
	noExclude   bool
	seed        uint64
	iface       string
	sources     []string
	shard       shard
	dryRun      bool

	syn        bool // TCP ports are asked by half a handshake
	engine     engine
	sourcePort uint16
	trace      bool
	open       *halfOpen // with syn

	hostTimeout time.Duration
	maxTime     time.Duration
	recall      float64 // percent

	alive      bool
	banner     bool
	bannerWait time.Duration
	reverse    bool

	out      outputs
	openOnly bool
	reason   bool
	failOn   failOn
	journal  string
	resume   string

	source4, source6 netip.Addr
	shortage         sync.Once // it is told once
	started          time.Time
}

func (a *app) scanCommand() *cobra.Command {
	s := &scanner{app: a, timeout: time.Second, bannerWait: 2 * time.Second, engine: engineAuto}
	return s.command()
}

func (s *scanner) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan [flags] [TARGET…]",
		Short: "Tell which ports answer, and how it is known",
		Long: `Scan TCP ports by connecting to them and UDP ports by a payload that fits each. Neither needs privileges.
With --method syn TCP ports are asked by half a handshake, which takes Linux, raw sockets and the right to them.

A target is a name, an address, a prefix (192.0.2.0/24: every address of it) or a range
(192.0.2.1-20), and may have its own ports, which then count instead of --ports:
example.com:22,80-90  [::1]:22. The same host named twice has the ports of both times. In a list of ports
U: and T: say whether those behind are UDP or TCP ports: 22,80,U:53,161.

A TCP port is open (it accepted), closed (the host refused by a reset) or filtered (a firewall
or router said so by ICMP, or nobody said anything), with its reason. A UDP port is open (it answered
what it was asked), closed (the host said so by ICMP), filtered (somebody else did) or open|filtered (silence).
Silent ports are asked again, at most --attempts times; a third time only if the second heard anything at all.
Among them are asked again some that had refused: if these are silent now, the host limits its refusals, and
that is told instead of "no response".

A host that accepts on more than one TCP port is asked for three high ports that nothing lives on. If
it accepts there too, something in front of it does: its ports are open|filtered then, but those on which
a service is heard to speak (--banner).

The last line says how much was probably missed: what is lost shows in how many answers came on
which attempt. --recall asks on until that is little enough, or says that it cannot be.

Loopback, private and special-purpose addresses are scanned as fast as this machine bears, by
--method syn with at most 100,000 probes a second. Public ones get at most 1,000 probes a second and 100
connections at once to each host. --rate and --concurrency say otherwise; --rate max is no limit.
--max-rate-per-host spreads a scan so that no host is asked too often: it holds for each process, so
shards of one host add up.

A SYN (--method syn) looks like a Linux client's and carries a keyed cookie; an answer without it is dropped, and
counted (-v). A port is open (SYN-ACK), closed (reset) or filtered (ICMP, or silence); a bare SYN in answer is
open by split-handshake-syn, which is weak. The time of a reset cannot be told. Each pass waits the whole --timeout for its last answer. --engine raw sends by raw
sockets, by any interface. --engine xdp sends and hears in the kernel (Linux 5.18, CAP_BPF, CAP_NET_ADMIN and
CAP_PERFMON beside CAP_NET_RAW), by Ethernet; nothing of it stays when the scan ends, however it ends. No
firewall of this machine sees what it sends. --engine auto takes it for 100,000 ports or more at 20,000
a second or more, and says why not. Answers that this machine had no room for make it slower, and what
was silent then is asked again, whatever --attempts says. See sonde doctor for what can be had here.

Special-purpose blocks (IANA's registries: private, loopback, documentation, reserved and their like; multicast)
are left out of a target that is wider than one, which is told: 0.0.0.0/0 is the public addresses. A target
inside one block is taken at its word. More than 65,536 public addresses are scanned only if --exclude-file
says who is to be left alone, or --no-exclude that nobody is.

An output FILE has its name when it is whole; until then, and after an interruption, it is FILE.partial.
A scan with --journal FILE can be gone on with, even after kill -9: sonde scan --resume FILE. What
may be given with --resume: -o, --open, --reason, --fail-on, --rate, --engine, --concurrency, --max-time.
SIGUSR1 prints how far it is. NO_COLOR in the environment keeps colours off a terminal.

Exit codes: 0 the scan ran, whatever it found; 1 it failed, or a name could not be resolved;
2 misused; 6 --fail-on found what it names; 128 and its number for a signal (Ctrl-C: 130).`,
		Example: `  sonde scan --host localhost --ports 22,80,443
  sonde scan 192.0.2.0/24 -p top:20,U:53,123,161 --alive --open
  sonde scan db.example:5432 web.example:80,443 -o json=scan.json -o text
  sonde scan 10.0.0.0/16 -p - --journal big.journal -o xml=big.xml
  sonde scan 10.0.0.0/8 -p 443 --method syn --rate max --open -o json=443.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.hosts = append(s.hosts, args...)
			if cmd.Flags().Changed("resume") {
				return s.goOn(cmd.Flags())
			}
			return s.run(cmd.Flags().Changed)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().SortFlags = false
	s.targetFlags(cmd.Flags())
	s.timingFlags(cmd.Flags())
	s.evidenceFlags(cmd.Flags())
	s.outputFlags(cmd.Flags())
	return cmd
}

func (s *scanner) targetFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&s.hosts, "host", nil, "scan this `TARGET`; may be repeated")
	f.StringArrayVarP(&s.ports, "ports", "p", nil, "scan these `PORTS`: 80,22,443  1-1024  http  top:N  U:53,161  - or all; may be repeated (default top:100)")
	f.Var(method{&s.proto, &s.syn}, "method", "scan by connect, syn (TCP; Linux, raw sockets) or udp: what ports mean without T: or U: before them")
	f.StringArrayVar(&s.excludePorts, "exclude-ports", nil, "do not scan these `PORTS` on any host; may be repeated")
	f.StringArrayVar(&s.files, "targets", nil, "read targets from `FILE`, - for standard input; may be repeated")
	f.StringArrayVar(&s.exclude, "exclude", nil, "do not scan these `TARGETS`, with commas between; may be repeated")
	f.StringArrayVar(&s.excludeFiles, "exclude-file", nil, "do not scan what `FILE` names: addresses, prefixes, ranges, names, # before a comment; may be repeated")
	f.BoolVar(&s.noExclude, "no-exclude", false, "scan more than 65,536 public addresses without an --exclude-file")
	f.BoolVar(&s.all, "all-addresses", false, "scan every address of a name, not the first only")
	f.BoolVarP(&s.only4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&s.only6, "ipv6", "6", false, "IPv6 only")
	f.BoolVar(&s.alive, "alive", false, "ask first who is there, and scan only hosts that answer at all")
	f.Var(&s.shard, "shard", "scan only part `I/N` of the targets, I from 1 to N: equal --seeds part them alike everywhere")
	f.BoolVar(&s.dryRun, "dry-run", false, "print the targets in the order in which they would be asked, and send nothing")
}

func (s *scanner) timingFlags(f *pflag.FlagSet) {
	f.Var(seconds{&s.timeout, time.Microsecond}, "timeout", "wait so long for an answer at the most, at each attempt; less where a host is known to be quick")
	f.Uint8Var(&s.attempts, "attempts", 4, "ask a silent port at most `N` times")
	f.Float64Var(&s.recall, "recall", 0, "ask the silent again until `PERCENT` of what answers is found, in 95 scans of 100")
	f.Var(seconds{&s.hostTimeout, time.Microsecond}, "host-timeout", "give a host up after so long, and keep what was found of it")
	f.Var(seconds{&s.maxTime, time.Microsecond}, "max-time", "end the scan after so long, and keep what was found")
	f.Var(&s.rate, "rate", "at most so many probes a second, or max (default: no limit, but for public addresses and --method syn)")
	f.Float64Var(&s.maxPerHost, "max-rate-per-host", 0, "at most `N` probes a second to any one host (default: no limit)")
	f.IntVar(&s.concurrency, "concurrency", 0, "at most `N` connections at once (default: what this machine bears)")
	f.Uint64Var(&s.seed, "seed", 0, "probe in the order that `N` fixes (default: drawn; with --shard 0)")
	f.StringVar(&s.iface, "interface", "", "leave by the interface `NAME` only (Linux)")
	f.Var(&s.engine, "engine", "with --method syn, send by raw sockets (raw), in the kernel (xdp), or as it is better (auto)")
	f.Uint16Var(&s.sourcePort, "source-port", 0, "with --method syn, come from `PORT` (default: 16 that are free)")
	f.BoolVar(&s.trace, "packet-trace", false, "with --method syn, print every packet that goes out, and those that answer")
	f.StringArrayVar(&s.sources, "source", nil, "come from `ADDR`, one of this machine's; may be given once for each family")
}

func (s *scanner) evidenceFlags(f *pflag.FlagSet) {
	f.BoolVar(&s.banner, "banner", false, "hear what the service on each open TCP port says")
	f.Var(seconds{&s.bannerWait, time.Millisecond}, "banner-wait", "with --banner, wait so long for a service to speak")
	f.BoolVar(&s.reverse, "reverse", false, "look up the names of the addresses that answer")
}

func (s *scanner) outputFlags(f *pflag.FlagSet) {
	f.VarP(&s.out, "output", "o", "write text, json, csv, xml (nmap's) or grep (nmap's), to standard output or to a file; may be repeated (default text)")
	f.BoolVar(&s.openOnly, "open", false, "show open ports only")
	f.BoolVar(&s.reason, "reason", false, "show all that is known of how each verdict came about")
	f.Var(&s.failOn, "fail-on", "exit with code 6 if any port is in this `STATE`: open or closed")
	f.StringVar(&s.journal, "journal", "", "keep the scan in `FILE` as it goes, so that it can be resumed")
	f.StringVar(&s.resume, "resume", "", "go on with the scan whose journal is `FILE`")
}

// run is the command: everything is checked before anything is sent.
func (s *scanner) run(given func(flag string) bool) error {
	if err := s.check(given); err != nil {
		return err
	}
	if !given("seed") && s.shard.n == 0 { // shards have to be parts of one order: it is that of 0 then
		s.seed = rand.Uint64()
	}
	var wanted request
	if s.resumed == nil { // before signals are ours: reading what is typed ends by Ctrl-C as anywhere
		var err error
		if wanted, err = s.read(s.in); err != nil {
			return err
		}
	}
	ctx, stop := endedBySignal(context.Background())
	defer stop()
	found, err := s.prepare(ctx, wanted)
	if err != nil {
		return signalOr(context.Cause(ctx), err)
	}
	for _, err := range found.unresolved {
		_ = s.exit(failure(err))
	}
	for _, text := range found.unscanned {
		s.note("%s", text)
	}
	s.tellLeftOut(found.left)
	switch {
	case found.local.Len()+found.public.Len() > 0:
	case len(found.unresolved) > 0:
		return exitWith(exitFailed)
	default:
		return nothingLeft(found)
	}
	if s.verbose {
		s.note("the order of probing is that of --seed %d", s.seed)
	}
	s.tellSize(found)
	if s.dryRun {
		err = s.list(s.app.out, found)
	} else {
		err = s.sweep(ctx, found)
	}
	if err == nil && len(found.unresolved) > 0 {
		return exitWith(exitFailed)
	}
	return err
}

// prepare finds what to scan, or takes it from the journal of the scan that is resumed.
func (s *scanner) prepare(ctx context.Context, wanted request) (*found, error) {
	if s.resumed != nil {
		return s.remember(), nil
	}
	waiting := time.AfterFunc(dialNotice, func() { s.note("still resolving names") })
	defer waiting.Stop()
	found, err := s.find(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if err := s.checkFamilies(found); err != nil {
		return nil, err
	}
	return found, s.checkExtent(found)
}
