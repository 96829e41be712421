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
	fault      faultFlags
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

With --ports it answers on many ports at once, all those that it can have: each run of them is
one line, "listening tcp 127.0.0.1:1-1024", and which it could not have and why is told on stderr.

With --tls or --tls-cert it serves TLS, which is over TCP only; a line on stdout, "certificate
sha256:...", has the fingerprint. Started by a systemd socket unit it serves the sockets that
it was given, TCP and UDP, in the place of ADDR.

With --fault it does wrong on purpose what a path or a server may do wrong, drawn from --seed:
equal seeds treat equal input alike, connection by connection and peer by peer.

SIGUSR1 makes it write a line with what it has done so far. Ctrl-C or SIGTERM ends it: what is
on its way is echoed, for --grace at most, and the exit code is 0. A second one ends it at once.
Exit code 1: it could not listen; 2: misused.`,
		Example: `  sonde echo
  sonde echo --once 7007
  sonde echo '*:9999' --max-conns 100 --idle-timeout 30
  sonde echo --ports 1-1024,8000-9000 '*' --allow 192.0.2.0/24
  sonde echo --tls --metrics localhost:9990
  sonde echo --fault delay=50ms,loss=1%,reset-after=1MB --seed 7`,
		Args: atMostOneAddr,
		RunE: func(cmd *cobra.Command, args []string) error { return a.echo(cmd, f, args) },
	}
	f.add(cmd, 5*time.Minute)
	flags := cmd.Flags()
	flags.StringVar(&f.ports, "ports", "", "answer on all of these `PORTS` (1-1024,8000-9000; T: before TCP's, U: before UDP's), which take the place of ADDR's")
	flags.BoolVar(&f.once, "once", false, "serve one TCP connection, then exit")
	flags.BoolVar(&f.lowPorts, "allow-low-ports", false, "answer UDP from ports below 1024 too, which are servers' mostly")
	f.fault.add(cmd)
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
	tcp, udp := f.protocols()
	faults, err := f.fault.faults(cmd, tcp, udp)
	if err != nil {
		return err
	}
	counts := new(echo.UDPCounts)
	return a.serveOn(cmd, &f.serverFlags, args, echoPort, func(*serve.Sockets) udpState { return echoState(counts) }, func(ctx context.Context, s *serving) error {
		if faults != nil {
			hasTCP, hasUDP := s.has()
			a.tellFaults(faults, hasTCP, hasUDP)
			defer a.faultsDone(faults)
		}
		if err := a.tellListening(&f.serverFlags, s); err != nil {
			return err
		}
		server := &echo.Server{Limits: f.limits, Event: s.event, Counts: &s.counts, TLS: s.tls, Faults: faults,
			AllowLowPorts: f.lowPorts, RatePerNet: f.ratePerNet, Dropped: a.dropped, Totals: a.echoed, UDPCounts: counts}
		return serveEcho(ctx, server, s.sockets)
	})
}

// echoState says what the UDP sockets have done so far. What the kernel dropped is told apart.
func echoState(c *echo.UDPCounts) udpState {
	s := udpState{in: c.In.Load(), out: c.Out.Load(), kernel: c.KernelDrops.Load()}
	for why, n := range c.EachDropped() {
		if why != echo.Overrun {
			s.dropped = append(s.dropped, dropCount{why.Word(), n})
		}
	}
	return s
}

// tellListening writes the lines that a program waits for.
func (a *app) tellListening(f *serverFlags, s *serving) error {
	if s.tls != nil {
		if _, err := fmt.Fprintf(s.out, "certificate %s\n", fingerprint(s.tls)); err != nil {
			return err
		}
		a.tellClients(&f.tls, s.tls, s.sockets)
	}
	if f.ports != "" {
		return eachRange(s.sockets, func(proto probe.Proto, where string) error {
			_, err := fmt.Fprintf(s.out, "listening %v %s\n", proto, where)
			return err
		})
	}
	return eachSocket(s.sockets, func(proto probe.Proto, local netip.AddrPort) error {
		_, err := fmt.Fprintf(s.out, "listening %v %v\n", proto, local)
		return err
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
func serveEcho(ctx context.Context, s *echo.Server, sockets *serve.Sockets) error {
	group, ctx := errgroup.WithContext(ctx)
	if len(sockets.TCP) > 0 {
		group.Go(func() error { return s.ServeTCP(ctx, sockets.TCP...) })
	}
	if len(sockets.UDP) > 0 {
		conns := make([]echo.Conn, len(sockets.UDP))
		for i, u := range sockets.UDP {
			conns[i] = u
		}
		group.Go(func() error { return s.ServeUDP(ctx, conns...) })
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

// echoed tells at the end what a UDP socket did.
func (a *app) echoed(t echo.Totals) {
	a.note("udp %v: %s in, %d echoed", t.Local, quantity(t.In, "datagram"), t.Out)
}
