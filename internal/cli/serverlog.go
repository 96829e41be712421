package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"sonde/internal/cert"
	"sonde/internal/echo"
	"sonde/internal/listen"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

// A serverLog puts into words what happens to a server's TCP connections.
type serverLog struct {
	*app
	limits serve.Limits
	counts serve.Counts
	since  time.Time // the server's beginning
	secure bool      // connections are TLS
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
		l.note("tcp %v %s, %s in, %d out, %s", e.Peer, l.howEnded(e), quantity(e.In, "byte"), e.Out, logDuration(e.Duration))
	case serve.Refused:
		l.note("%s closed at once, the last from %v: %s", quantity(uint64(e.Count), "tcp connection"), e.Peer, l.whyRefused(e.Why))
	case serve.Trouble:
		l.note("accepting failed %s, going on: %v", howOften(e.Count), e.Err)
	}
}

func (l *serverLog) whyRefused(why serve.Refusal) string {
	switch why {
	case serve.FullOfOne:
		return fmt.Sprintf("--max-conns-per-source is %d", l.limits.MaxPerSource)
	case serve.Denied:
		return "not permitted by --allow and --deny"
	}
	return fmt.Sprintf("--max-conns is %d", l.limits.MaxConns)
}

func (l *serverLog) howEnded(e serve.Event) string {
	switch {
	case errors.Is(e.Err, serve.ErrHandshake):
		return fmt.Sprintf("came to no TLS (%s)", whyNoTLS(e))
	case errors.Is(e.Err, serve.ErrTruncated):
		return "closed by peer (FIN without close_notify: it may have sent more)"
	}
	switch e.Ending {
	case sock.ByPeer:
		if l.secure { // a FIN alone is ErrTruncated
			return "closed by peer (close_notify)"
		}
		return "closed by peer (FIN)"
	case sock.ByUs:
		if e.Cut {
			return "cut by us, still busy when the grace ended"
		}
		if errors.Is(e.Err, listen.ErrEnough) {
			return "closed by us, --count reached"
		}
		if errors.Is(e.Err, echo.ErrReset) {
			return "reset by us, as --fault has it"
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

// whyNoTLS says why a handshake failed.
func whyNoTLS(e serve.Event) string {
	switch e.Ending {
	case sock.Reset:
		return "reset by peer (RST)"
	case sock.TimedOut:
		return "the handshake was not over in time"
	}
	words := strings.TrimPrefix(cert.Explain(e.Err).Error(), serve.ErrHandshake.Error()+": ")
	did, local := strings.CutPrefix(words, "local error: tls: ")
	switch {
	case local && did == "bad record MAC":
		// OpenSSL sends the alert by which it refuses a certificate of TLS 1.3 in the clear, which nobody may take at its word.
		return "the client's answer to the certificate is not encrypted as agreed: it has most likely refused it"
	case local:
		return "the client broke the protocol: " + did
	case strings.Contains(words, "client offered only unsupported versions"):
		return "the client has no version of TLS that is served: 1.2 or 1.3"
	}
	words, _, _ = strings.Cut(strings.TrimPrefix(words, "tls: "), "; client offered")
	return words
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
