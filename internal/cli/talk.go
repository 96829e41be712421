package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonde/internal/cert"
	"sonde/internal/dial"
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
	tcp, udp            bool
	one, hex, crlf, raw bool
	family
	source        string
	timeout, wait time.Duration
	proxyURL      string
	trustFlags
	noHistory bool

	// What check made of the flags.
	proxy dial.Proxy // if proxyURL is set
	trust cert.Trust // if tls is
}

func (a *app) talkCommand() *cobra.Command {
	t := &talker{app: a}
	cmd := &cobra.Command{
		Use:   "talk [flags] HOST PORT | HOST:PORT | unix:PATH",
		Short: "Talk to a server over TCP, TLS, UDP or a Unix socket",
		Long: `Talk to a server over TCP, under TLS with --tls, over UDP with --udp, or at a Unix socket.

On a terminal every line typed is sent, and every reply is shown with the time it came and
how long after the last line sent. 'exit', Ctrl-D or Ctrl-C ends; /help tells of the commands
/hex, /crlf, /send, /file, /stats and /quit. A line that is pasted is sent as it is, whatever
it says. What was typed is remembered for the next time, in $XDG_STATE_HOME/sonde/history
(~/.local/state/sonde/history), but for lines that begin with a space; --no-history does
without.

In a pipe bytes go in and come out unchanged. At the end of the input our side is closed
(FIN, or TLS's close_notify), and what the peer still says is written until it closes too.
Over UDP each line is one datagram, and replies are awaited for --wait after the last.

Of a name with several addresses the first that answers is taken: IPv6 and IPv4 by turns,
each tried 250 ms after the one before. What fails is told, and what wins. A proxy resolves
the name itself.

One line on stderr says who ended it, and how. Exit codes: 0 ended by the peer's FIN or by
us, 1 failed (refused over TCP, no route, certificate not trusted), 2 misused, 3 reset,
broken off under TLS, or refused over UDP, 4 timed out, 5 a limit of this machine, 128 and
its number for a signal (Ctrl-C: 130).`,
		Example: `  sonde talk localhost 9999
  printf 'GET / HTTP/1.0\r\n\r\n' | sonde talk example.org http
  printf 'GET / HTTP/1.0\r\n\r\n' | sonde talk --tls --proxy socks5://localhost:9050 example.org 443
  echo hello | sonde talk --udp localhost:9999
  sonde talk unix:/run/server.sock`,
		Args: t.checkFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("wait") && t.wait == 0 {
				t.wait = -1 // not at all
			}
			return t.run(args)
		},
		DisableFlagsInUseLine: true,
	}
	t.register(cmd)
	return cmd
}

func (t *talker) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&t.tcp, "tcp", false, "talk over TCP (the default)")
	f.BoolVarP(&t.udp, "udp", "u", false, "talk over UDP: each line is a datagram")
	f.BoolVar(&t.one, "one", false, "with --udp: the whole input is one datagram")
	f.BoolVar(&t.hex, "hex", false, "show what the peer says in hexadecimal")
	f.BoolVar(&t.crlf, "crlf", false, "lines sent end in CR LF")
	f.BoolVar(&t.raw, "raw", false, "do not escape the peer's bytes on a terminal")
	f.BoolVarP(&t.only4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&t.only6, "ipv6", "6", false, "IPv6 only")
	f.StringVar(&t.source, "source", "", "come from `ADDR[:PORT]`, one of this machine's")
	t.timeout = dial.DefaultTimeout
	f.Var(seconds{&t.timeout, time.Nanosecond}, "timeout", "wait so long for a connection, at each address; as long for a proxy's, and for TLS")
	f.Var(seconds{&t.wait, 0}, "wait", "wait so long for a silent peer after the end of the input (default: TCP no limit, UDP 1s)")
	t.trustFlags.register(f)
	f.StringVar(&t.proxyURL, "proxy", "", "go through the proxy at `URL`: socks5:// or http://[USER:PASSWORD@]HOST[:PORT]")
	f.BoolVar(&t.noHistory, "no-history", false, "on a terminal: forget what was typed, and do not remember what was before")
}

func (t *talker) checkFlags(*cobra.Command, []string) error {
	switch {
	case t.tcp && t.udp:
		return misuse(errors.New("--tcp and --udp exclude each other"), "leave one out")
	case t.one && !t.udp:
		return misuse(errors.New("--one is for datagrams"), "add --udp; over TCP the input is one stream anyway")
	case t.only4 && t.only6:
		return misuse(errors.New("-4 and -6 exclude each other"), "leave both out to try all addresses")
	}
	return t.check(t.udp)
}

// checkProxy reads --proxy.
func (t *talker) checkProxy(to destination) (err error) {
	if t.proxyURL == "" {
		return nil
	}
	if t.udp {
		return misuse(errors.New("--proxy does not go with --udp"), "leave one out: datagrams are not sent through proxies here")
	}
	if strings.ContainsFunc(to.host, func(r rune) bool { return r <= ' ' }) {
		return misuse(fmt.Errorf("%q is no host", to.host))
	}
	if t.proxy, err = dial.ParseProxy(t.proxyURL); err != nil { // its text may hold a password
		return misuse(fmt.Errorf("--proxy: %w", err), "write it as socks5://localhost:1080, or http://USER:PASSWORD@proxy.example:3128")
	}
	return nil
}

// run is the command: everything is checked before anything is sent.
func (t *talker) run(args []string) error {
	to, err := t.destination(args)
	if err != nil {
		return err
	}
	source, err := t.parseSource()
	if err != nil {
		return err
	}
	if err := t.checkProxy(to); err != nil {
		return err
	}
	if t.tls {
		if t.trust, err = t.readTrust(to.host); err != nil {
			return err
		}
	}
	ctx, stop := endedBySignal(context.Background())
	defer stop()
	l, err := t.reach(ctx, dial.Dialer{Source: source, Timeout: t.timeout}, to)
	if err != nil {
		return signalOr(context.Cause(ctx), err)
	}
	summary, err := t.converse(ctx, l.Conn)
	if err != nil {
		return failure(err)
	}
	return t.tell(to, summary)
}

// tell says how it ended, in one line and by the exit code. -q silences what is no failure.
func (t *talker) tell(to destination, s talk.Summary) error {
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
	if to.unix == "" && s.PeerClosed && s.Received.Bytes == 0 && (s.Sent.Bytes > 0 || s.Ending == sock.ByPeer) {
		t.note("hint: %s", t.unanswered())
	}
	return signalOr(s.Err, nil)
}

// unanswered is what to look for where a peer closed without a word: one that wants TLS and one that turns strangers away
// are told from one that has nothing to say by nothing else.
func (t *talker) unanswered() string {
	if t.tls {
		return "nothing came back: does it let you in?"
	}
	return "nothing came back: does it speak TLS (--tls), or let you in?"
}
