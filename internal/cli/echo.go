package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sonde/internal/echo"
	"sonde/internal/probe"
	"sonde/internal/serve"
)

const echoPort = 9999

type echoFlags struct {
	serverFlags
	once       bool
	lowPorts   bool
	ratePerNet int
}

func (a *app) echoCommand() *cobra.Command {
	var f echoFlags
	cmd := &cobra.Command{
		Use:                   "echo [flags] [ADDR]",
		DisableFlagsInUseLine: true,
		Short:                 "Send back what comes, over TCP and UDP (RFC 862)",
		Long: `Echo sends back what it receives, over TCP and UDP on the same port (RFC 862).

ADDR is HOST:PORT, HOST, PORT or :PORT; what is left out is localhost and 9999. On localhost
both 127.0.0.1 and ::1 answer; *:PORT is every address of this machine. Port 0 takes one that
is free. Each socket is one line on stdout, "listening tcp 127.0.0.1:9999"; the log is on stderr.

Ctrl-C or SIGTERM ends it: what is on its way is echoed, for --grace at most, and the exit code
is 0. A second one ends it at once. Exit code 1: it could not listen; 2: misused.`,
		Example: `  sonde echo
  sonde echo --once 7007
  sonde echo '*:9999' --max-conns 100 --idle-timeout 30`,
		Args: atMostOneAddr,
		RunE: func(cmd *cobra.Command, args []string) error { return a.echo(cmd, f, args) },
	}
	f.add(cmd, 5*time.Minute)
	flags := cmd.Flags()
	flags.BoolVar(&f.once, "once", false, "serve one TCP connection, then exit")
	flags.BoolVar(&f.lowPorts, "allow-low-ports", false, "answer UDP from ports below 1024 too, which are servers' mostly")
	flags.IntVar(&f.ratePerNet, "rate-per-net", echo.DefaultRatePerNet, "answer one network (/24, /64) at most `N` UDP datagrams a second; loopback is exempt")
	return cmd
}

func (f *echoFlags) check() error {
	switch {
	case f.once && f.udp:
		return misuse(errors.New("--once is about a TCP connection and cannot go with --udp"), "leave one of them out")
	case f.ratePerNet < 1:
		return misuse(fmt.Errorf("--rate-per-net %d is less than 1", f.ratePerNet))
	}
	f.limits.Once, f.tcp = f.once, f.tcp || f.once
	return f.serverFlags.check()
}

func (a *app) echo(cmd *cobra.Command, f echoFlags, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	return a.serveOn(cmd, &f.serverFlags, args, echoPort, func(ctx context.Context, log *serverLog, sockets *serve.Sockets) error {
		err := eachSocket(sockets, func(proto probe.Proto, local netip.AddrPort) error {
			_, err := fmt.Fprintf(a.out, "listening %v %v\n", proto, local)
			return err
		})
		if err != nil {
			return err
		}
		server := &echo.Server{Limits: f.limits, Event: log.event, AllowLowPorts: f.lowPorts, RatePerNet: f.ratePerNet, Dropped: a.dropped}
		return serveEcho(ctx, server, sockets, a.echoed)
	})
}

// eachSocket calls tell for each, until it fails.
func eachSocket(s *serve.Sockets, tell func(probe.Proto, netip.AddrPort) error) error {
	for _, l := range s.TCP {
		if err := tell(probe.TCP, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
			return err
		}
	}
	for _, u := range s.UDP {
		if err := tell(probe.UDP, u.LocalAddr()); err != nil {
			return err
		}
	}
	return nil
}

// serveEcho serves all sockets; the failure of one ends the others.
func serveEcho(ctx context.Context, s *echo.Server, sockets *serve.Sockets, totals func(local netip.AddrPort, t echo.Totals)) error {
	group, ctx := errgroup.WithContext(ctx)
	if len(sockets.TCP) > 0 {
		group.Go(func() error { return s.ServeTCP(ctx, sockets.TCP...) })
	}
	for _, u := range sockets.UDP {
		each := *s
		each.Totals = func(t echo.Totals) { totals(u.LocalAddr(), t) }
		group.Go(func() error { return each.ServeUDP(ctx, u) })
	}
	return group.Wait()
}

func (a *app) dropped(d echo.Drop) {
	what := fmt.Sprintf("not echoed: %s %v", quantity(uint64(d.Count), "datagram"), d.Why)
	if d.Peer.IsValid() {
		what += fmt.Sprintf(", the last from %v", d.Peer)
	}
	if d.Err != nil {
		what += fmt.Sprintf(" (%v)", d.Err)
	}
	a.note("udp %s", what)
}

// echoed tells at the end what a UDP socket did, if anything.
func (a *app) echoed(local netip.AddrPort, t echo.Totals) {
	if t.In > 0 {
		a.note("udp %v: %s in, %d echoed", local, quantity(t.In, "datagram"), t.Out)
	}
}
