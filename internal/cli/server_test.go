package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sonde/internal/listen"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

// logged returns what write has an app say on stderr.
func logged(t *testing.T, a app, write func(*serverLog)) []string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "err")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	a.err = f
	write(&serverLog{app: &a, limits: serve.Limits{MaxConns: 5, MaxPerSource: 2, Grace: 5 * time.Second}})
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func handshake(err error) error { return fmt.Errorf("%w: %w", serve.ErrHandshake, err) }

func TestServerLog(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:5000")
	ended := func(e serve.Event) serve.Event {
		e.Kind, e.Peer, e.In, e.Out, e.Duration = serve.Ended, peer, 12, 10, 1234*time.Millisecond
		return e
	}
	rest := ", 12 bytes in, 10 out, 1.2 s"
	for want, e := range map[string]serve.Event{
		"tcp 192.0.2.1:5000 closed by peer (FIN)" + rest:                                                      ended(serve.Event{Ending: sock.ByPeer}),
		"tcp 192.0.2.1:5000 closed by us" + rest:                                                              ended(serve.Event{Ending: sock.ByUs}),
		"tcp 192.0.2.1:5000 closed by us, --count reached" + rest:                                             ended(serve.Event{Ending: sock.ByUs, Err: listen.ErrEnough}),
		"tcp 192.0.2.1:5000 cut by us, still busy when the grace ended" + rest:                                ended(serve.Event{Ending: sock.ByUs, Cut: true}),
		"tcp 192.0.2.1:5000 reset by peer (RST)" + rest:                                                       ended(serve.Event{Ending: sock.Reset}),
		"tcp 192.0.2.1:5000 timed out (nothing came for 1m0s)" + rest:                                         ended(serve.Event{Ending: sock.TimedOut, Err: &serve.IdleError{For: time.Minute}}),
		"tcp 192.0.2.1:5000 timed out (the peer answers no more)" + rest:                                      ended(serve.Event{Ending: sock.TimedOut, Err: syscall.ETIMEDOUT}),
		"tcp 192.0.2.1:5000 failed (odd)" + rest:                                                              ended(serve.Event{Ending: sock.Failed, Err: errors.New("odd")}),
		"tcp 192.0.2.1:5000 came to no TLS (the peer closed the connection during the handshake)" + rest:      ended(serve.Event{Ending: sock.Failed, Err: handshake(io.EOF)}),
		"tcp 192.0.2.1:5000 came to no TLS (reset by peer (RST))" + rest:                                      ended(serve.Event{Ending: sock.Reset, Err: handshake(syscall.ECONNRESET)}),
		"tcp 192.0.2.1:5000 came to no TLS (the handshake was not over in time)" + rest:                       ended(serve.Event{Ending: sock.TimedOut, Err: handshake(os.ErrDeadlineExceeded)}),
		"tcp 192.0.2.1:5000 came to no TLS (odd)" + rest:                                                      ended(serve.Event{Ending: sock.Failed, Err: handshake(errors.New("odd"))}),
		"tcp 192.0.2.1:5000 closed by peer (FIN without close_notify: it may have sent more)" + rest:          ended(serve.Event{Ending: sock.Failed, Err: serve.ErrTruncated}),
		"3 tcp connections closed at once, the last from 192.0.2.1:5000: --max-conns-per-source is 2":         {Kind: serve.Refused, Why: serve.FullOfOne, Count: 3, Peer: peer},
		"3 tcp connections closed at once, the last from 192.0.2.1:5000: not permitted by --allow and --deny": {Kind: serve.Refused, Why: serve.Denied, Count: 3, Peer: peer},
		"3 tcp connections closed at once, the last from 192.0.2.1:5000: --max-conns is 5":                    {Kind: serve.Refused, Count: 3, Peer: peer},
		"accepting failed once, going on: odd":                                                                {Kind: serve.Trouble, Count: 1, Err: errors.New("odd")},
	} {
		if got := logged(t, app{}, func(l *serverLog) { l.event(e) }); len(got) != 1 || got[0] != "sonde: "+want {
			t.Errorf("said %q, want %q", got, want)
		}
		if got := logged(t, app{quiet: true}, func(l *serverLog) { l.event(e) }); got[0] != "" {
			t.Errorf("said %q in spite of -q", got)
		}
	}
}

func TestServerSaysHowManyWereCut(t *testing.T) {
	got := logged(t, app{}, func(l *serverLog) {
		parent, interrupt := context.WithCancel(t.Context())
		_, done := l.untilStopped(parent)
		interrupt()
		for range 3 {
			l.event(serve.Event{Kind: serve.Ended, Ending: sock.ByUs, Cut: true})
		}
		done()
	})
	if last := got[len(got)-1]; last != "sonde: warning: 3 tcp connections cut, still busy after 5s" {
		t.Errorf("said %q", got)
	}
}
