package cli

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"sonde/internal/listen"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

// serverFlags are what echo and listen have in common.
type serverFlags struct {
	tcp, udp bool
	limits   serve.Limits
}

func (f *serverFlags) add(cmd *cobra.Command, idle time.Duration) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.tcp, "tcp", false, "TCP only")
	flags.BoolVarP(&f.udp, "udp", "u", false, "UDP only")
	flags.IntVar(&f.limits.MaxConns, "max-conns", 0, "at most `N` TCP connections at the same time; further ones are closed at once (0: no limit)")
	f.limits.IdleTimeout, f.limits.Grace = idle, 5*time.Second
	flags.Var(seconds{&f.limits.IdleTimeout, 0}, "idle-timeout", "end a TCP connection on which nothing moves for so long; 0: never")
	flags.Var(seconds{&f.limits.Grace, 0}, "grace", "give TCP connections so long to end after Ctrl-C or SIGTERM")
}

// protocols returns which of TCP and UDP are wanted: both when neither is named.
func (f *serverFlags) protocols() (tcp, udp bool) {
	return f.tcp || !f.udp, f.udp || !f.tcp
}

func (f *serverFlags) check() error {
	if f.limits.MaxConns < 0 {
		return misuse(fmt.Errorf("--max-conns %d is less than 0", f.limits.MaxConns), "0 sets no limit")
	}
	return nil
}

// serveOn binds what the flags and ADDR say, serves until a signal ends it, and closes what it bound.
func (a *app) serveOn(cmd *cobra.Command, f *serverFlags, args []string, port uint16, run func(context.Context, *serverLog, *serve.Sockets) error) error {
	addr, err := serverAddr(args, port)
	if err != nil {
		return err
	}
	log := &serverLog{app: a, limits: f.limits}
	ctx, done := log.untilStopped(cmd.Context())
	defer done()
	tcp, udp := f.protocols()
	sockets, err := a.bind(ctx, cmd, addr, tcp, udp)
	if err != nil {
		return err
	}
	defer sockets.Close()
	return run(ctx, log, sockets)
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

// A serverLog puts into words what happens to a server's TCP connections.
type serverLog struct {
	*app
	limits serve.Limits
	open   atomic.Int64
	cut    atomic.Int64
}

// event is told of every event, from one goroutine at a time.
func (l *serverLog) event(e serve.Event) {
	switch e.Kind {
	case serve.Opened:
		l.open.Add(1)
		if l.verbose {
			l.note("tcp %v connected to %v", e.Peer, e.Local)
		}
	case serve.Ended:
		l.open.Add(-1)
		if e.Cut {
			l.cut.Add(1)
		}
		l.note("tcp %v %s, %s in, %d out, %s", e.Peer, howEnded(e), quantity(e.In, "byte"), e.Out, logDuration(e.Duration))
	case serve.Refused:
		l.note("%s closed at once, the last from %v: --max-conns is %d", quantity(uint64(e.Count), "tcp connection"), e.Peer, l.limits.MaxConns)
	case serve.Trouble:
		l.note("accepting failed %s, going on: %v", howOften(e.Count), e.Err)
	}
}

func howEnded(e serve.Event) string {
	switch e.Ending {
	case sock.ByPeer:
		return "closed by peer (FIN)"
	case sock.ByUs:
		if e.Cut {
			return "cut by us, still busy when the grace ended"
		}
		if errors.Is(e.Err, listen.ErrEnough) {
			return "closed by us, --count reached"
		}
		return "closed by us"
	case sock.Reset:
		return "reset by peer (RST)"
	case sock.TimedOut:
		return fmt.Sprintf("timed out (%s)", whyTimedOut(e.Err))
	case sock.Limit:
		return fmt.Sprintf("ended by a limit of this machine (%v)", e.Err)
	}
	return fmt.Sprintf("failed (%v)", e.Err)
}

// whyTimedOut says why a time-out ran out; err is a deadline of ours or the system's.
func whyTimedOut(err error) string {
	var idle *serve.IdleError
	if errors.As(err, &idle) {
		return idle.Error()
	}
	return "the peer answers no more"
}

// untilStopped returns a context that a signal ends, and says so if somebody is waited for. The
// function it returns reports who was cut, when all have ended.
func (l *serverLog) untilStopped(parent context.Context) (context.Context, func()) {
	ctx, cancel := untilSignal(parent)
	stop := context.AfterFunc(ctx, func() {
		if n := l.open.Load(); n > 0 && l.limits.Grace > 0 {
			l.note("stopping: %s may end within %v; a second signal ends now", quantity(uint64(n), "tcp connection"), l.limits.Grace)
		}
	})
	return ctx, func() {
		stop()
		interrupted := ctx.Err() != nil
		cancel()
		if n := l.cut.Load(); interrupted && n > 0 {
			l.warn("%s cut, still busy after %v", quantity(uint64(n), "tcp connection"), l.limits.Grace)
		}
	}
}

// quantity is "1 byte", "2 bytes".
func quantity(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func howOften(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// logDuration is a duration as a log has it: 0.4 ms, 1.2 s, 1m30s.
func logDuration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
