package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"

	"github.com/spf13/cobra"

	"sonde/internal/listen"
	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

const listenPort = 9998

type listenFlags struct {
	serverFlags
	output string
	raw    bool
	count  int
}

func (a *app) listenCommand() *cobra.Command {
	var f listenFlags
	cmd := &cobra.Command{
		Use:                   "listen [flags] [ADDR]",
		DisableFlagsInUseLine: true,
		Short:                 "Print what comes, over TCP and UDP, and answer nothing",
		Long: `Listen prints what it receives, over TCP and UDP on the same port, and answers nothing.

Each datagram and each line of a TCP connection is one line with its sender; what a terminal
would obey is escaped, and so nothing a peer sends can look like a line of another's. With
--raw the bytes alone go to stdout, exact, and what --count counts is datagrams and whole
TCP connections.

ADDR is HOST:PORT, HOST, PORT or :PORT; what is left out is localhost and 9998. On localhost
both 127.0.0.1 and ::1 are listened on; *:PORT is every address of this machine. Port 0 takes
one that is free.

With --tls or --tls-cert it serves TLS, which is over TCP only; a line, "certificate sha256:...",
has the fingerprint. Started by a systemd socket unit it listens on the sockets that it was
given, TCP and UDP, in the place of ADDR. SIGUSR1 makes it write a line with what it has had so far.

Ctrl-C or SIGTERM ends it, after --grace at most, with exit code 0; so does --count. A second
one ends it at once. Exit code 1: it could not listen; 2: misused.`,
		Example: `  sonde listen
  sonde listen --udp 5140 -o json
  sonde listen --tcp --raw --count 1 :7007 > message
  sonde listen --tls --max-conns-per-source 10`,
		Args: atMostOneAddr,
		RunE: func(cmd *cobra.Command, args []string) error { return a.listen(cmd, f, args) },
	}
	f.add(cmd, 0)
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "text", "write text or json, one object a line: `FORMAT`")
	flags.BoolVar(&f.raw, "raw", false, "write the bytes received and nothing else")
	flags.IntVar(&f.count, "count", 0, "end after `N` messages: datagrams and lines, with --raw datagrams and TCP connections, each to its end (0: never)")
	return cmd
}

func (f *listenFlags) check() error {
	switch {
	case f.output != "text" && f.output != "json":
		return misuse(fmt.Errorf("output %q is not known", f.output), "write -o text or -o json")
	case f.raw && f.output == "json":
		return misuse(errors.New("--raw and -o json exclude each other"), "JSON has the exact bytes in data_b64")
	case f.count < 0:
		return misuse(fmt.Errorf("--count %d is less than 0", f.count))
	}
	return f.serverFlags.check()
}

// sink returns what writes messages to out. With --raw stdout has no room for words of ours.
func (a *app) sink(f listenFlags, out io.Writer) listen.Sink {
	switch {
	case f.raw:
		return rawSink{listen.Raw{W: out}, a}
	case f.output == "json":
		return listen.JSON{W: out}
	}
	return listen.Text{W: out}
}

// A rawSink tells on stderr where it listens.
type rawSink struct {
	listen.Raw
	app *app
}

func (r rawSink) Listening(proto probe.Proto, local netip.AddrPort) error {
	r.app.note("listening %v %v", proto, local)
	return nil
}

func (a *app) listen(cmd *cobra.Command, f listenFlags, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	var udp listen.UDPCounts
	state := func(s *serve.Sockets) udpState {
		return udpState{in: udp.In.Load(), kernel: kernelDrops(s.UDP), dropped: []dropCount{{serve.Denied.String(), udp.Denied.Load()}}}
	}
	return a.serveOn(cmd, &f.serverFlags, args, listenPort, state, func(ctx context.Context, s *serving) error {
		server := listen.Server{Limits: f.limits, Sink: a.sink(f, s.out), Raw: f.raw, Count: f.count, Event: s.event, Counts: &s.counts, TLS: s.tls,
			UDP: &udp, Missed: a.missed, Lost: a.lost}
		err := a.certificate(f, s)
		if err == nil {
			err = eachSocket(s.sockets, server.Sink.Listening)
		}
		if err == nil {
			err = server.Serve(ctx, s.sockets.TCP, packetConns(s.sockets))
		}
		if errors.Is(err, syscall.EPIPE) {
			return nil // the reader of stdout has had enough
		}
		return err
	})
}

// certificate tells which certificate clients will see, in the words of the output.
func (a *app) certificate(f listenFlags, s *serving) (err error) {
	if s.tls == nil {
		return nil
	}
	switch mark := fingerprint(s.tls); {
	case f.raw:
		a.note("certificate %s", mark)
	case f.output == "json":
		_, err = fmt.Fprintf(s.out, `{"type":"certificate","fingerprint":%q}`+"\n", mark)
	default:
		_, err = fmt.Fprintf(s.out, "certificate %s\n", mark)
	}
	a.tellClients(&f.tls, s.tls, s.sockets)
	return err
}

func packetConns(s *serve.Sockets) (cs []listen.Conn) {
	for _, u := range s.UDP {
		cs = append(cs, u)
	}
	return cs
}

// kernelDrops is what the kernel has thrown away so far, where it counts that.
func kernelDrops(us []*sock.UDP) (sum uint64) {
	for _, u := range us {
		if n, err := u.Drops(); err == nil {
			sum += uint64(n)
		}
	}
	return sum
}

func (a *app) lost(n int) {
	a.note("udp: the kernel dropped %s, coming faster than they are read", quantity(uint64(n), "datagram"))
}

func (a *app) missed(n int, err error) {
	a.note("udp: reading failed %s, going on: %v", howOften(n), err)
}
