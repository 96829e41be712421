package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonde/internal/cert"
	"sonde/internal/dial"
	"sonde/internal/measure"
	"sonde/internal/sock"
)

// A pinger is the ping command with its flags.
type pinger struct {
	*app
	tcp, udp, connect bool
	trustFlags
	family
	count             uint64
	interval          time.Duration
	rate              pingRate
	size              byteSize
	connections       int
	window            int
	duration, timeout time.Duration
	histogram         bool
	format            string
	failOver          share
	search            string
	step              time.Duration

	// What check and run made of them.
	condition measure.Condition
	trust     cert.Trust
	changed   func(flag string) bool
	host      string
	port      uint16
	addr      netip.AddrPort // what is measured
	resolved  time.Duration  // how long the name took
	notOpen   error          // why the last connection that was not to be had was not
}

const (
	pingInterval = time.Second
	pingTimeout  = 2 * time.Second
	pingSize     = 64
	searchStep   = 2 * time.Second
	largestPing  = 1 << 24 // bytes, over TCP
	mostWindow   = 1 << 20 // probes
)

// A pingRate is --rate of ping: probes a second, N or N/s, or max.
type pingRate struct{ rate }

// Set implements pflag.Value.
func (r *pingRate) Set(text string) error { return r.rate.Set(strings.TrimSuffix(text, "/s")) }

// A byteSize is --size: a number of bytes.
type byteSize int

func (s *byteSize) String() string { return strconv.Itoa(int(*s)) }

func (s *byteSize) Type() string { return "BYTES" }

// Set implements pflag.Value.
func (s *byteSize) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return fmt.Errorf("%q is no number of bytes; write it out: 1000, or 65536 for 64 KiB", text)
	}
	*s = byteSize(n)
	return nil
}

// A share is a part of a whole: 1% or 0.01.
type share struct {
	of    float64
	given bool
}

func (s *share) String() string {
	if !s.given {
		return ""
	}
	return fmt.Sprintf("%g%%", s.of*100)
}

func (s *share) Type() string { return "SHARE" }

// Set implements pflag.Value.
func (s *share) Set(text string) (err error) {
	s.of, err = measure.ParseShare(text)
	s.given = err == nil
	return err
}

func (a *app) pingCommand() *cobra.Command {
	p := &pinger{app: a}
	cmd := &cobra.Command{
		Use:   "ping [flags] HOST PORT | HOST:PORT",
		Short: "Measure an echo server, or a connection: time, loss, damage",
		Long: `Ping sends numbered, hashed payloads to an echo server, over TCP, UDP (--udp) or TLS (--tls), and
verifies every byte that comes back: what was lost, late, doubled, reordered or damaged, where,
and how long it took. With --connect only the connection is measured, so any server will do.

It goes on until Ctrl-C, --count or --duration. Probes leave by a timetable (--interval or
--rate) that waits for no reply. Latency counts from when a probe was to be sent, service
time from when it was: where they differ, something held up the sending. With --rate max
each connection sends the next probe when a reply is in (--window: so many in flight); such
a closed loop has no timetable, and slows down with the server.

Resolving, connecting, TLS and the first byte are told apart, and are part of no latency. A
connection that breaks is made again, once a second; what was in flight is lost, and what
falls due meanwhile is unsent. A late reply came after --timeout; it is not lost as well.

"loss" is the share of the probes sent of which nothing came back. "failed" is the share of those
due that are not back whole and in time: lost, late, corrupt or unsent. --fail-over is about that.

--search looks for the highest rate that keeps a condition on the latency of all probes, those
that never came being endless: it doubles, then bisects, and asks the border again. A rate that is
not kept is asked twice. Where --step would be too short for a percentile it is up to five times as long.

Replies are told one by one up to 20 probes a second over one connection. With -o json each line
is an object: "start", "connection", "reply" (where replies are told), and at the end "summary",
or with --search "step" and "found"; also where it fails, with "ending" and "error". Times end in
_ms (milliseconds) or _s (seconds), rates in _per_s, shares run from 0 to 1.

Exit codes: 0 done; 1 failed: no connection, no echo server, not one whole reply in time, or more
failed than --fail-over; 2 misused; 3 the peer reset the connection in its making; 4 no answer to
connecting; 5 a limit of this machine. Ctrl-C ends a ping as --count does, with the code of what it
found by then; a search that it cuts short tells what was kept so far: 130. SIGTERM: 143.`,
		Example: `  sonde ping localhost 9999
  sonde ping --connect example.org https
  sonde ping --udp --rate 10000 --duration 10 --histogram localhost:9999
  sonde ping --search 'p99<5ms' --connections 64 localhost:9999`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.changed = cmd.Flags().Changed
			return p.run(cmd, args)
		},
		DisableFlagsInUseLine: true,
	}
	p.flags(cmd)
	return cmd
}

func (p *pinger) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&p.tcp, "tcp", false, "over TCP (the default)")
	f.BoolVarP(&p.udp, "udp", "u", false, "over UDP: each probe is a datagram")
	p.register(f)
	f.BoolVar(&p.connect, "connect", false, "measure connecting alone: each probe is a connection, ended by a reset")
	f.BoolVarP(&p.only4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&p.only6, "ipv6", "6", false, "IPv6 only")
	f.Uint64VarP(&p.count, "count", "c", 0, "send `N` probes in all (default: until Ctrl-C)")
	p.interval = pingInterval
	f.VarP(seconds{&p.interval, time.Microsecond}, "interval", "i", "time between two probes of a connection")
	f.Var(&p.rate, "rate", "probes a second over all connections, instead of --interval; max: a closed loop")
	f.Var(seconds{&p.duration, 0}, "duration", "send probes for so long")
	p.size = pingSize
	f.VarP(&p.size, "size", "s", "payload, at least 32")
	f.IntVar(&p.connections, "connections", 1, "use `N` connections at the same time")
	f.IntVar(&p.window, "window", 1, "with --rate max: keep `N` probes in flight on a connection")
	p.timeout = pingTimeout
	f.Var(seconds{&p.timeout, time.Millisecond}, "timeout", "a probe is lost when its reply is not there after so long")
	f.BoolVar(&p.histogram, "histogram", false, "draw the distribution of the latency at the end")
	f.StringVarP(&p.format, "output", "o", "text", "`FORMAT` of the output: text or json")
	f.Var(&p.failOver, "fail-over", "exit code 1 if more than this share failed: is not back whole and in time, as 1%")
	f.StringVar(&p.search, "search", "", "find the highest rate that keeps a `CONDITION`: p99<5ms, mean<1ms, loss<0.1%, failed<1%")
	p.step = searchStep
	f.Var(seconds{&p.step, time.Millisecond}, "step", "with --search: try each rate for so long; a slow one up to five times as long")
}

// check refuses what cannot go together, before anything is sent.
func (p *pinger) check() error {
	for _, check := range []func() error{p.checkProtocol, p.checkSchedule, p.checkAmounts, p.checkSearch} {
		if err := check(); err != nil {
			return err
		}
	}
	return p.trustFlags.check(p.udp)
}

func (p *pinger) checkProtocol() error {
	switch {
	case p.tcp && p.udp:
		return misuse(errors.New("--tcp and --udp exclude each other"), "measure one after the other")
	case p.udp && p.connect:
		return misuse(errors.New("--connect is for TCP: over UDP there is no connection"), "leave out --udp")
	case p.only4 && p.only6:
		return misuse(errors.New("-4 and -6 exclude each other"), "leave both out to try all addresses")
	case p.format != "text" && p.format != "json":
		return misuse(fmt.Errorf("%q is no format; there are text and json", p.format))
	}
	return nil
}

// checkSchedule is about when probes are sent.
func (p *pinger) checkSchedule() error {
	switch {
	case p.changed("count") && p.count == 0:
		return misuse(errors.New("--count 0 would send nothing"), "leave it out to go on until Ctrl-C")
	case p.changed("duration") && p.duration == 0:
		return misuse(errors.New("--duration 0 would send nothing"), "leave it out to go on until Ctrl-C")
	case p.changed("interval") && p.changed("rate"):
		return misuse(errors.New("--interval and --rate exclude each other"), "--interval is of one connection, --rate of all together")
	case p.changed("window") && !p.closed():
		return misuse(errors.New("--window is for --rate max"), "by a timetable as many probes are in flight as it takes")
	case p.connect && p.changed("connections") && !p.closed():
		return misuse(errors.New("--connections and --connect go together with --rate max only"), "by a timetable as many connections are in the making as it takes")
	}
	return nil
}

// closed reports whether probes wait for replies.
func (p *pinger) closed() bool { return p.rate.rate == mostRate }

// checkAmounts is about how much is sent.
func (p *pinger) checkAmounts() error {
	switch {
	case p.connections < 1:
		return misuse(fmt.Errorf("--connections %d is less than 1", p.connections))
	case p.window < 1:
		return misuse(fmt.Errorf("--window %d is less than 1", p.window))
	case p.connect && p.changed("size"):
		return misuse(errors.New("--size is of payloads, and --connect sends none"), "leave one of them out")
	case p.window > max(1, mostWindow/p.connections):
		return misuse(fmt.Errorf("--window %d is too much: at most %d probes are in flight over all connections", p.window, mostWindow))
	case p.size < measure.HeaderSize:
		return misuse(fmt.Errorf("--size %d is less than %d, the header by which a payload is known again", p.size, measure.HeaderSize))
	case p.udp && int(p.size) > dial.MaxPayload(netip.IPv6Unspecified()):
		return misuse(fmt.Errorf("--size %d is more than a datagram carries", p.size), "65507 bytes at most go into one over IPv4, 65527 over IPv6")
	case p.size > largestPing:
		return misuse(fmt.Errorf("--size %d is more than %d", p.size, largestPing), "send more probes instead: --window, --connections")
	}
	const others = 32 // descriptors that are needed beside
	if limit, err := sock.RaiseFileLimit(); err == nil && uint64(p.connections)+others > limit {
		err := fmt.Errorf("%d connections need %d descriptors, and this process may have %d", p.connections, p.connections+others, limit)
		return &exitError{code: exitLimit, err: err, hints: []string{fmt.Sprintf("raise it: ulimit -n %d", p.connections+others)}}
	}
	return nil
}

func (p *pinger) checkSearch() (err error) {
	if p.search == "" {
		if p.changed("step") {
			return misuse(errors.New("--step is for --search"), "leave it out, or add --search 'p99<5ms'")
		}
		return nil
	}
	if p.condition, err = measure.ParseCondition(p.search); err != nil {
		return misuse(fmt.Errorf("--search: %w", err))
	}
	for _, flag := range []string{"count", "duration", "interval", "connect", "window", "fail-over"} {
		if p.changed(flag) {
			return misuse(fmt.Errorf("--search and --%s exclude each other", flag), "it chooses the rates itself, and tries each for --step")
		}
	}
	if p.histogram {
		return misuse(errors.New("--search and --histogram exclude each other"), "draw it of the rate that is found: --rate N --histogram")
	}
	if p.closed() {
		return misuse(errors.New("--search and --rate max exclude each other"), "with a number, --rate is the first rate tried")
	}
	return nil
}

// perSecond is the rate of the timetable, 0 for a closed loop.
func (p *pinger) perSecond() float64 {
	switch {
	case p.closed():
		return 0
	case p.rate.rate > 0:
		return float64(p.rate.rate)
	case p.connect:
		return 1 / p.interval.Seconds()
	}
	return float64(p.connections) / p.interval.Seconds()
}

// mostLive is how many probes a second are told one by one.
const mostLive = 20

// live reports whether each probe is told of.
func (p *pinger) live() bool {
	return !p.quiet && p.search == "" && p.connections == 1 && !p.closed() && p.perSecond() <= mostLive
}
