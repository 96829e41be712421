package serve

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"sonde/internal/cert"
	"sonde/internal/sock"
)

func startTLS(t *testing.T, limits Limits, handle func(*Conn) error, l net.Listener) *trial {
	t.Helper()
	own, err := cert.SelfSigned([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return startServer(t, Server{Limits: limits, Handle: handle, Answer: same, TLS: &tls.Config{Certificates: []tls.Certificate{own}}}, l)
}

// overTLS returns a client's connection, and the TCP below it.
func overTLS(t *testing.T, l net.Listener) (*tls.Conn, *net.TCPConn) {
	t.Helper()
	tcp := dial(t, l)
	c := tls.Client(tcp, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // who it is does not matter here
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c, tcp
}

func TestTLSEchoesRecordsOfAllSizes(t *testing.T) {
	l := loopback(t)
	r := startTLS(t, Limits{IdleTimeout: time.Minute}, nil, l)
	c, tcp := overTLS(t, l)
	want := make([]byte, 300_000)
	for i := range want {
		want[i] = byte(i * 7 >> (i % 5))
	}
	go func() {
		for rest, n := want, 1; len(rest) > 0; n = n*3 + 1 {
			n = min(n, len(rest))
			_, _ = c.Write(rest[:n])
			rest = rest[n:]
		}
		_ = c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, or others; %v", len(got), len(want), err)
	}
	_ = tcp.Close()
	if e := r.await(Ended, 1)[0]; e.Ending != sock.ByPeer || e.Err != nil || e.In != uint64(len(want)) || e.Out != e.In {
		t.Errorf("told %+v", e)
	}
	if n := r.server.Counts.In.Load(); n != uint64(len(want)) {
		t.Errorf("%d bytes counted", n)
	}
	r.stop()
}

// TestRecordInPieces: a record that comes byte by byte is waited for without a buffer, again and again.
func TestRecordInPieces(t *testing.T) {
	l := loopback(t)
	r := startTLS(t, Limits{}, nil, l)
	tcp := dial(t, l)
	c := tls.Client(&dripping{tcp}, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // as above
	exchange(t, c, "one record, two records")
	exchange(t, c, "and more")
	_ = c.Close()
	r.await(Ended, 1)
	r.stop()
}

// dripping writes byte by byte, and leaves the other side time to notice.
type dripping struct{ net.Conn }

func (d *dripping) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if len(p) < 100 {
			time.Sleep(time.Millisecond)
		}
	}
	return len(p), nil
}

func TestEndingsOverTLS(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(c *tls.Conn, tcp *net.TCPConn)
		ending sock.Ending
		err    error
	}{
		"close_notify": {func(c *tls.Conn, _ *net.TCPConn) { _ = c.Close() }, sock.ByPeer, nil},
		"FIN alone":    {func(_ *tls.Conn, tcp *net.TCPConn) { _ = tcp.CloseWrite() }, sock.ByPeer, io.ErrUnexpectedEOF},
		"FIN within record": {func(_ *tls.Conn, tcp *net.TCPConn) {
			_, _ = tcp.Write([]byte{23, 3, 3, 0, 99, 1})
			_ = tcp.CloseWrite()
		}, sock.ByPeer, ErrTruncated},
		"RST": {func(_ *tls.Conn, tcp *net.TCPConn) { _ = tcp.SetLinger(0); _ = tcp.Close() }, sock.Reset, sock.ErrReset},
	} {
		t.Run(name, func(t *testing.T) {
			l := loopback(t)
			r := startTLS(t, Limits{}, nil, l)
			c, tcp := overTLS(t, l)
			exchange(t, c, "hello")
			test.end(c, tcp)
			e := r.await(Ended, 1)[0]
			if e.Ending != test.ending || !errors.Is(e.Err, test.err) || e.In != 5 {
				t.Errorf("told %+v", e)
			}
			r.stop()
		})
	}
}

func TestOurEndOverTLSIsOrderly(t *testing.T) {
	l := loopback(t)
	r := startTLS(t, Limits{Grace: 20 * time.Second}, nil, l)
	c, tcp := overTLS(t, l)
	exchange(t, c, "hello")
	r.cancel(nil)
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client sees %v", err)
	}
	if _, err := tcp.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("behind the close_notify came %v, a FIN was due", err)
	}
	_ = c.Close()
	if e := r.stop()[0]; e.Ending != sock.ByUs || e.Cut {
		t.Errorf("told %+v", e)
	}
}

func TestFailedHandshakes(t *testing.T) {
	for name, test := range map[string]struct {
		say    func(c *net.TCPConn)
		ending sock.Ending
	}{
		"no TLS":      {func(c *net.TCPConn) { _, _ = c.Write([]byte("GET / HTTP/1.0\r\n\r\n")) }, sock.Failed},
		"silence":     {func(*net.TCPConn) {}, sock.TimedOut},
		"FIN at once": {func(c *net.TCPConn) { _ = c.CloseWrite() }, sock.ByPeer},
		"too old": {func(c *net.TCPConn) {
			old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // to be refused
			_ = tls.Client(c, old).Handshake()
		}, sock.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			l := loopback(t)
			r := startTLS(t, Limits{IdleTimeout: 1500 * time.Millisecond}, func(*Conn) error { t.Error("it was handed over"); return nil }, l)
			c := dial(t, l)
			test.say(c)
			if _, err := io.ReadAll(c); err != nil {
				t.Errorf("the client sees %v, a FIN was due", err)
			}
			_ = c.Close()
			e := r.await(Ended, 1)[0]
			if e.Ending != test.ending || !errors.Is(e.Err, ErrHandshake) {
				t.Errorf("told %+v", e)
			}
			r.stop()
		})
	}
}

func TestStopDuringHandshake(t *testing.T) {
	l := loopback(t)
	r := startTLS(t, Limits{Grace: time.Minute}, nil, l)
	c := dial(t, l)
	r.await(Opened, 1)
	r.cancel(nil)
	_, _ = io.ReadAll(c)
	_ = c.Close()
	if e := r.stop()[0]; e.Ending != sock.ByUs {
		t.Errorf("told %+v", e)
	}
}

func TestIdleOverTLS(t *testing.T) {
	l := loopback(t)
	r := startTLS(t, Limits{IdleTimeout: time.Second}, nil, l)
	c, _ := overTLS(t, l)
	exchange(t, c, "hello")
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("an idle client sees %v", err)
	}
	_ = c.Close()
	if e := r.await(Ended, 1)[0]; e.Ending != sock.TimedOut || !errors.Is(e.Err, os.ErrDeadlineExceeded) || errors.Is(e.Err, ErrHandshake) {
		t.Errorf("told %+v", e)
	}
	r.stop()
}

func TestHandlerSeesTLS(t *testing.T) {
	l := loopback(t)
	r := startTLS(t, Limits{}, func(c *Conn) error {
		if state := c.TLS(); state == nil || state.Version != tls.VersionTLS13 {
			t.Errorf("TLS is %+v", state)
		}
		return nil
	}, l)
	c, _ := overTLS(t, l)
	_, _ = io.ReadAll(c)
	_ = c.Close()
	r.await(Ended, 1)
	r.stop()
}

func TestHandlerCanReset(t *testing.T) {
	for _, secure := range []bool{false, true} {
		l := loopback(t)
		reset := func(c *Conn) error {
			_, _ = c.Next()
			c.Reset()
			return nil
		}
		var r *trial
		var c net.Conn
		if secure {
			r = startTLS(t, Limits{}, reset, l)
			c, _ = overTLS(t, l)
		} else {
			r = start(t, Limits{}, reset, l)
			c = dial(t, l)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); sock.EndingOf(err) != sock.Reset {
			t.Errorf("TLS %v: the client sees %v", secure, err)
		}
		if e := r.await(Ended, 1)[0]; e.Ending != sock.ByUs {
			t.Errorf("told %+v", e)
		}
		r.stop()
	}
}
