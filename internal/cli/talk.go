package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sonde/internal/service"
	"sonde/internal/sock"
	"sonde/internal/talk"
)

// How a conversation ended, as an exit code. A signal's is 128 and its number.
const (
	exitReset    = 3
	exitTimedOut = 4
	exitLimit    = 5
)

// A talker is the talk command with its flags.
type talker struct {
	*app
	udp, one, hex, crlf, raw bool
	family
	source        string
	timeout, wait time.Duration
}

func (a *app) talkCommand() *cobra.Command {
	t := &talker{app: a}
	cmd := &cobra.Command{
		Use:   "talk [flags] HOST PORT | HOST:PORT",
		Short: "Talk to a server over TCP or UDP",
		Long: `Talk to a server over TCP, or over UDP with --udp.

On a terminal every line typed is sent, and every reply is shown with the time it came and
how long after the last line sent. 'exit', Ctrl-D or Ctrl-C ends.

In a pipe bytes go in and come out unchanged. At the end of the input our side is closed
(FIN), and what the peer still says is written until it closes too. Over UDP each line is
one datagram, and replies are awaited for --wait after the last.

One line on stderr says who ended it, and how. Exit codes: 0 ended by the peer's FIN or by
us, 1 failed (refused over TCP, no route), 2 misused, 3 reset, or refused over UDP, 4 timed
out, 5 a limit of this machine, 128 and its number for a signal (Ctrl-C: 130).`,
		Example: `  sonde talk localhost 9999
  printf 'GET / HTTP/1.0\r\n\r\n' | sonde talk example.org http
  echo hello | sonde talk --udp localhost:9999`,
		Args: t.checkArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("wait") && t.wait == 0 {
				t.wait = -1 // not at all
			}
			return t.run(args)
		},
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&t.udp, "udp", "u", false, "talk over UDP: each line is a datagram")
	f.BoolVar(&t.one, "one", false, "with --udp: the whole input is one datagram")
	f.BoolVar(&t.hex, "hex", false, "show what the peer says in hexadecimal")
	f.BoolVar(&t.crlf, "crlf", false, "lines sent end in CR LF")
	f.BoolVar(&t.raw, "raw", false, "do not escape the peer's bytes on a terminal")
	f.BoolVarP(&t.only4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&t.only6, "ipv6", "6", false, "IPv6 only")
	f.StringVar(&t.source, "source", "", "come from `ADDR[:PORT]`, one of this machine's")
	t.timeout = talk.DefaultTimeout
	f.Var(seconds{&t.timeout, time.Nanosecond}, "timeout", "wait so long for a connection, at each address")
	f.Var(seconds{&t.wait, 0}, "wait", "wait so long for a silent peer after the end of the input (default: TCP no limit, UDP 1s)")
	return cmd
}

func (t *talker) checkArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return misuse(errors.New("no host given"), "name a host and a port: sonde talk localhost 9999")
	case len(args) > 2:
		return misuse(fmt.Errorf("too many arguments: %q", args[2:]), "name one host and one port: sonde talk localhost 9999")
	case t.one && !t.udp:
		return misuse(errors.New("--one is for datagrams"), "add --udp; over TCP the input is one stream anyway")
	case t.only4 && t.only6:
		return misuse(errors.New("-4 and -6 exclude each other"), "leave both out to try all addresses")
	}
	return nil
}

// run is the command: everything is checked before anything is sent.
func (t *talker) run(args []string) error {
	host, port, err := t.destination(args)
	if err != nil {
		return err
	}
	source, err := t.parseSource()
	if err != nil {
		return err
	}
	ctx, stop := endedBySignal(context.Background())
	defer stop()
	addrs, err := t.resolve(ctx, host, source)
	if err != nil {
		return signalOr(context.Cause(ctx), err)
	}
	conn, err := t.dial(ctx, talk.Dialer{Source: source, Timeout: t.timeout}, addrs, port)
	if err != nil {
		return signalOr(context.Cause(ctx), err)
	}
	summary, err := t.converse(ctx, conn)
	if err != nil {
		return failure(err)
	}
	return t.tell(summary)
}

// destination reads HOST PORT or HOST:PORT.
func (t *talker) destination(args []string) (host string, port uint16, err error) {
	host, portText, err := talk.SplitAddress(args[0])
	if len(args) == 2 && err == nil {
		return "", 0, misuse(fmt.Errorf("two ports given: %s and %s", args[0], args[1]), "leave one out")
	}
	if len(args) == 2 && errors.Is(err, talk.ErrNoPort) {
		portText, err = args[1], nil
	}
	switch {
	case errors.Is(err, talk.ErrNoPort) && host != "":
		return "", 0, misuse(fmt.Errorf("no port given for %s", host), fmt.Sprintf("add one: sonde talk %s PORT", host))
	case err != nil:
		return "", 0, misuse(fmt.Errorf("%q is no HOST:PORT: %w", args[0], err), "an IPv6 address goes in brackets: [::1]:9999")
	case host == "":
		return "", 0, misuse(errors.New("the host is empty"), "name a host and a port: sonde talk localhost 9999")
	}
	port, err = t.parsePort(portText)
	return host, port, err
}

// parsePort reads a number or a service's name.
func (t *talker) parsePort(text string) (uint16, error) {
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && n >= 1 && n <= 65535:
		return uint16(n), nil
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, misuse(fmt.Errorf("port %s is not between 1 and 65535", text))
	}
	ports := service.Ports(text, t.udp)
	switch {
	case len(ports) == 1:
		return ports[0], nil
	case len(ports) > 1:
		return 0, misuse(fmt.Errorf("%q has several ports: %s", text, strings.Trim(fmt.Sprint(ports), "[]")), "name one of them by number")
	}
	hint := "name a port by its number, 1 to 65535, or by its service, as http"
	if near, ok := nearest(text, serviceNames(t.udp)); ok {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return 0, misuse(fmt.Errorf("%q is neither a port nor a known service", text), hint)
}

// serviceNames returns the names of services, the commonest first: of two slips that are
// as near, the likelier is meant.
func serviceNames(udp bool) []string {
	var names []string
	for _, port := range service.Top(1000, udp) {
		names = append(names, service.Name(port, udp))
	}
	return append(names, service.Names(udp)...)
}

// parseSource reads --source ADDR[:PORT].
func (t *talker) parseSource() (netip.AddrPort, error) {
	if t.source == "" {
		return netip.AddrPort{}, nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(t.source, "[]")); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), 0), nil
	}
	source, err := netip.ParseAddrPort(t.source)
	if err != nil {
		return source, misuse(fmt.Errorf("%q is no source address", t.source), "write an address of this machine, as 192.0.2.1, 192.0.2.1:4000 or [2001:db8::1]:4000")
	}
	return netip.AddrPortFrom(source.Addr().Unmap(), source.Port()), nil
}

// resolve returns the addresses of host that -4, -6 and --source leave, IPv4 first.
func (t *talker) resolve(ctx context.Context, host string, source netip.AddrPort) ([]netip.Addr, error) {
	all, err := t.addresses(ctx, host)
	if err != nil || !source.IsValid() {
		return all, err
	}
	var addrs []netip.Addr
	for _, addr := range all {
		if addr.Is4() == source.Addr().Is4() {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, failure(fmt.Errorf("%s has no address that %v can talk to", host, source.Addr()),
			fmt.Sprintf("its address is %v; give a --source of that family", all[0]))
	}
	return addrs, nil
}

// addresses returns those of host that -4 and -6 leave: itself, where it is one.
func (t *talker) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		addrs, err := t.lookUp(ctx, host)
		if err != nil {
			return nil, failure(err, "check the spelling, or give its address")
		}
		return addrs, nil
	}
	if addr = addr.Unmap(); !t.allows(addr) {
		return nil, misuse(fmt.Errorf("%v is no %s address, and no other is allowed", addr, t.family), "leave out -4 or -6")
	}
	return []netip.Addr{addr}, nil
}

// dial tries the addresses in turn, and tells of each that fails.
func (t *talker) dial(ctx context.Context, d talk.Dialer, addrs []netip.Addr, port uint16) (net.Conn, error) {
	for i, addr := range addrs {
		to, start := netip.AddrPortFrom(addr, port), time.Now()
		conn, err := t.dialOne(ctx, d, to)
		if err == nil {
			t.greet(conn, time.Since(start))
			return conn, nil
		}
		var refused *talk.DialError
		if !errors.As(err, &refused) {
			return nil, err
		}
		if i == len(addrs)-1 {
			return nil, t.dialFailure(refused)
		}
		t.warn("%v; trying %v", dialWords(refused, d.Source), addrs[i+1])
	}
	return nil, errors.New("no address to try")
}

// dialNotice is when a connection in the making is told of: a person should not wonder why nothing happens.
const dialNotice = 2 * time.Second

func (t *talker) dialOne(ctx context.Context, d talk.Dialer, to netip.AddrPort) (net.Conn, error) {
	if !t.udp {
		waiting := time.AfterFunc(dialNotice, func() { t.note("connecting to %v: no answer yet; --timeout is %v", to, t.timeout) })
		conn, err := d.DialTCP(ctx, to)
		waiting.Stop()
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
	conn, err := d.DialUDP(ctx, to)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// greet says what there is now: to a person always, in a pipe with -v.
func (t *talker) greet(conn net.Conn, took time.Duration) {
	person := t.onTerminal()
	if !person && !t.verbose {
		return
	}
	text := fmt.Sprintf("connected to %v from %v in %.1fms", conn.RemoteAddr(), conn.LocalAddr(), float64(took)/float64(time.Millisecond))
	if t.udp {
		text = fmt.Sprintf("sending to %v from %v; UDP has no connection, so nothing is known of it yet", conn.RemoteAddr(), conn.LocalAddr())
	}
	if person {
		text += "; 'exit' or Ctrl-D ends"
	}
	t.note("%s", text)
}

// dialWords is an error with what only this command knows: the source that was asked for.
func dialWords(e *talk.DialError, source netip.AddrPort) error {
	switch {
	case e.ICMP != nil:
		return e
	case source.IsValid() && errors.Is(e, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%v is no address of this machine, or cannot reach %v", source.Addr(), e.Addr)
	case source.IsValid() && errors.Is(e, syscall.EADDRINUSE):
		return fmt.Errorf("the source %v is in use already", source)
	case source.IsValid() && errors.Is(e, syscall.EACCES):
		return fmt.Errorf("no permission to talk from %v", source)
	}
	return e
}

// dialFailure adds the exit code and the next step.
func (t *talker) dialFailure(e *talk.DialError) error {
	source, _ := t.parseSource()
	words := dialWords(e, source)
	scan := fmt.Sprintf("see what the host answers: sonde scan --host %v --ports %d", e.Addr.Addr(), e.Addr.Port())
	switch {
	case !errors.Is(words, error(e)):
		return failure(words, "leave --source out, and the system chooses")
	case e.Met:
		return &exitError{code: exitReset, err: words, hints: []string{"the service is there and does not want to talk: its limits or its access list may say why"}}
	case e.ICMP != nil && e.ICMP.NoNeighbor():
		return failure(words, "is it switched on, and is its address right? see 'ip neigh' and 'ip route'")
	case e.ICMP != nil && e.ICMP.Local, errors.Is(e, syscall.EPERM):
		return failure(words, "its rules say why; see 'nft list ruleset' or 'iptables -S OUTPUT'")
	case e.ICMP != nil && e.ICMP.From == e.Addr.Addr():
		return failure(words, "the host is there, and its firewall lets nobody in here; "+scan)
	case e.ICMP != nil:
		return failure(words, fmt.Sprintf("%v, a router or a firewall on the way, says so; %s", e.ICMP.From, scan))
	case e.Ending == sock.Reset && e.Addr.Addr().IsLoopback():
		return failure(words, fmt.Sprintf("start a server there: sonde echo %v", e.Addr))
	case e.Ending == sock.Reset:
		return failure(words, "is it the right port? "+scan)
	case e.Ending == sock.TimedOut:
		return &exitError{code: exitTimedOut, err: words, hints: []string{"the host is down, or a firewall drops what we send; " + scan}}
	case e.Ending == sock.Limit:
		return &exitError{code: exitLimit, err: words, hints: []string{"this machine is short of descriptors, memory or ports; nothing is known of the peer"}}
	case errors.Is(e, syscall.EINVAL) && e.Addr.Addr().IsLinkLocalUnicast() && e.Addr.Addr().Zone() == "":
		return failure(words, fmt.Sprintf("a link-local address needs its interface: %v%%eth0", e.Addr.Addr()))
	case e.Heard && (errors.Is(e, syscall.EHOSTUNREACH) || errors.Is(e, syscall.EACCES)):
		return failure(words, "a route of this machine forbids that address; see 'ip route'")
	case errors.Is(e, syscall.ENETUNREACH) && !e.Heard:
		return failure(words, "this machine or a router on the way has no route to that address")
	case errors.Is(e, syscall.ENETUNREACH):
		return failure(words, "this machine has no route to that address; see 'ip route'")
	}
	return failure(words)
}

// onTerminal reports whether a person types and reads here.
func (t *talker) onTerminal() bool {
	return term.IsTerminal(int(t.in.Fd())) && term.IsTerminal(int(t.out.Fd()))
}

// converse holds the conversation, and gives the terminal back as it was.
func (t *talker) converse(ctx context.Context, conn net.Conn) (talk.Summary, error) {
	c := talk.Conversation{Wait: t.wait, CRLF: t.crlf, One: t.one, Note: func(text string) { t.note("%s", text) }}
	if t.onTerminal() {
		return t.converseHere(ctx, c, conn)
	}
	in, out := interruptible(t.in), interruptible(t.out)
	defer context.AfterFunc(ctx, func() { _ = out.Close() })()
	return t.hold(ctx, c, conn, in, t.printer(out)), nil
}

// converseHere holds it with a person.
func (t *talker) converseHere(ctx context.Context, c talk.Conversation, conn net.Conn) (talk.Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	terminal, err := openTerminal(t.in, t.out, func() { cancel(signalError(syscall.SIGINT)) })
	if err != nil {
		_ = conn.Close()
		return talk.Summary{}, fmt.Errorf("open the terminal: %w", err)
	}
	defer terminal.restore()
	if term.IsTerminal(int(t.err.Fd())) && !t.quiet {
		c.Note = func(text string) { fmt.Fprintf(terminal, "* %s\n", text) }
	}
	c.Interactive = !t.one // with one datagram to send, the end of the input is what sends it
	return t.hold(ctx, c, conn, terminal, talk.NewChat(terminal, t.form(), t.udp)), nil
}

func (t *talker) hold(ctx context.Context, c talk.Conversation, conn net.Conn, in io.ReadCloser, out talk.Printer) talk.Summary {
	if udp, ok := conn.(*net.UDPConn); ok {
		return c.Datagrams(ctx, udp, in, out)
	}
	return c.Stream(ctx, conn, in, out)
}

func (t *talker) form() talk.Form {
	switch {
	case t.hex:
		return talk.Hex
	case t.raw:
		return talk.Raw
	}
	return talk.Safe
}

// printer is for an output where nobody types: exact, but for a terminal's sake.
func (t *talker) printer(out io.Writer) talk.Printer {
	switch {
	case t.hex:
		return &talk.Dump{W: out, Datagrams: t.udp}
	case !t.raw && term.IsTerminal(int(t.out.Fd())):
		return talk.NewEscaped(out, t.udp)
	}
	return talk.Exact{W: out}
}

// tell says how it ended, in one line and by the exit code. -q silences what is no failure.
func (t *talker) tell(s talk.Summary) error {
	var output *talk.OutputError
	if errors.As(s.Err, &output) && sock.EndingOf(output.Err) == sock.Reset {
		return nil // the reader of our output had enough
	}
	switch s.Ending {
	case sock.Failed:
		return failure(errors.New(s.String()))
	case sock.Limit:
		return &exitError{code: exitLimit, err: errors.New(s.String())}
	case sock.Reset, sock.TimedOut:
		fmt.Fprintf(t.err, "sonde: %v\n", s)
		return exitWith(map[sock.Ending]int{sock.Reset: exitReset, sock.TimedOut: exitTimedOut}[s.Ending])
	}
	t.note("%v", s)
	return signalOr(s.Err, nil)
}
