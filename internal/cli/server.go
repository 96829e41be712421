package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sonde/internal/serve"
)

// serverFlags are what echo and listen have in common.
type serverFlags struct {
	tcp, udp    bool
	limits      serve.Limits
	allow, deny prefixes
	tls         tlsFlags
	metrics     string
	ports       string // echo's --ports, in the place of ADDR's; listen has none
}

func (f *serverFlags) add(cmd *cobra.Command, idle time.Duration) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.tcp, "tcp", false, "TCP only")
	flags.BoolVarP(&f.udp, "udp", "u", false, "UDP only")
	flags.IntVar(&f.limits.MaxConns, "max-conns", 0, "at most `N` TCP connections at the same time; further ones are closed at once (0: no limit)")
	flags.IntVar(&f.limits.MaxPerSource, "max-conns-per-source", 0, "at most `N` of them from one address, of IPv6 one /64 (0: no limit)")
	f.limits.IdleTimeout, f.limits.Grace = idle, 5*time.Second
	flags.Var(seconds{&f.limits.IdleTimeout, 0}, "idle-timeout", "end a TCP connection on which nothing moves for so long; 0: never")
	flags.Var(seconds{&f.limits.Grace, 0}, "grace", "give TCP connections so long to end after Ctrl-C or SIGTERM")
	flags.Var(&f.allow, "allow", "serve these addresses and networks only, as 10.0.0.0/8,::1; others are closed at once, their datagrams dropped")
	flags.Var(&f.deny, "deny", "do not serve these, whatever --allow says")
	f.tls.add(flags)
	flags.StringVar(&f.metrics, "metrics", "", "tell Prometheus at http://`ADDR`/metrics what happens; ADDR is written as the server's, port 0 takes a free one; --allow and --deny hold for it too")
}

// protocols returns which of TCP and UDP are wanted: both when neither is named, but with TLS, which is over TCP.
func (f *serverFlags) protocols() (tcp, udp bool) {
	return f.tcp || !f.udp, f.udp || !f.tcp && !f.tls.wanted()
}

func (f *serverFlags) check() error {
	switch {
	case f.limits.MaxConns < 0:
		return misuse(fmt.Errorf("--max-conns %d is less than 0", f.limits.MaxConns), "0 sets no limit")
	case f.limits.MaxPerSource < 0:
		return misuse(fmt.Errorf("--max-conns-per-source %d is less than 0", f.limits.MaxPerSource), "0 sets no limit")
	}
	f.limits.Access = serve.Access{Allow: f.allow.set, Deny: f.deny.set}
	return f.tls.check(f.udp)
}

// A serving is what echo and listen serve: the sockets, and how their TCP connections are protected (nil: not at all).
type serving struct {
	*serverLog
	streams
	sockets *serve.Sockets
	tls     *tls.Config
	udp     func() udpState // may be called at any time, once they are bound
}

// serveOn binds what the flags and ADDR say, or takes what systemd gave, serves until a signal ends it, and closes what it has.
// udp tells at any time what its UDP sockets have done.
func (a *app) serveOn(cmd *cobra.Command, f *serverFlags, args []string, port uint16, udp func(*serve.Sockets) udpState, run func(context.Context, *serving) error) error {
	given, err := f.given(args)
	if err != nil {
		return err
	}
	s := &serving{serverLog: &serverLog{app: a, limits: f.limits, since: time.Now()}, streams: a.openStreams(), sockets: given}
	s.udp = func() udpState { return udp(s.sockets) }
	defer func() { s.sockets.Close() }()
	addr, err := f.addr(args, port)
	if err != nil {
		return err
	}
	loaded, err := f.tls.load()
	if err != nil {
		return err
	}
	ctx, done := s.untilStopped(cmd.Context())
	defer done()
	s.hurryAfter(ctx, f.limits.Grace)
	if given == nil {
		if s.sockets, err = a.bind(ctx, cmd, addr, f); err != nil {
			return err
		}
	}
	if s.tls, err = f.tls.secure(loaded, addr.host, s.sockets); err != nil {
		return err
	}
	s.secure = s.tls != nil
	if f.metrics != "" {
		end, err := s.serveMetrics(ctx, cmd, f.metrics)
		if err != nil {
			return err
		}
		defer end()
	}
	defer s.tellStatus()()
	err = run(ctx, s)
	s.hurry()
	return s.why(err)
}

// has reports which protocols there are sockets of.
func (s *serving) has() (tcp, udp bool) { return len(s.sockets.TCP) > 0, len(s.sockets.UDP) > 0 }

// addr is what ADDR says. With --ports it says no port.
func (f *serverFlags) addr(args []string, port uint16) (bindAddr, error) {
	addr, err := serverAddr(args, port)
	if err == nil && f.ports != "" && addr.named {
		err = misuse(fmt.Errorf("--ports and the port %d in the address exclude each other", addr.port), "write the address alone: "+addr.host)
	}
	return addr, err
}

func serverAddr(args []string, port uint16) (bindAddr, error) {
	if len(args) == 0 {
		return parseBind("", port)
	}
	return parseBind(args[0], port)
}

// atMostOneAddr refuses a second ADDR.
func atMostOneAddr(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return misuse(fmt.Errorf("one address to listen on, not %d", len(args)), bindForms)
	}
	return nil
}
