package serve

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sonde/internal/sock"
)

// eachWayAndTLS starts a server each way, and one of TLS, and runs test with a client of it. All of them run at once: they take a while.
func eachWayAndTLS(t *testing.T, limits Limits, test func(t *testing.T, r *trial, c writeCloser)) {
	for name, way := range map[string]struct {
		handle func(*Conn) error
		secure bool
	}{"goroutines": {handle: echo}, "loops": {}, "TLS": {secure: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := loopback(t)
			if !way.secure {
				r := start(t, limits, way.handle, l)
				test(t, r, dialSmall(t, l))
				return
			}
			r := startTLS(t, limits, way.handle, l)
			c := tls.Client(dialSmall(t, l), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // who it is does not matter here
			test(t, r, c)
		})
	}
}

// A writeCloser is a connection over TCP or TLS.
type writeCloser interface {
	net.Conn
	CloseWrite() error
}

// dialSmall connects with a small receive buffer, so that what is read is acknowledged soon.
func dialSmall(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<10) })
	}}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// TestSlowReaderIsNotIdle: who reads a little of a full send buffer now and then makes progress, even if for longer than the idle time-out there is no
// room to send more.
func TestSlowReaderIsNotIdle(t *testing.T) {
	const idle = 1500 * time.Millisecond
	eachWayAndTLS(t, Limits{IdleTimeout: idle}, func(t *testing.T, r *trial, c writeCloser) {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		const size = 16 << 20
		wrote := make(chan error)
		go func() {
			_, err := c.Write(make([]byte, size))
			wrote <- errors.Join(err, c.CloseWrite())
		}()
		got := int64(0)
		for began := time.Now(); time.Since(began) < 3*idle; time.Sleep(50 * time.Millisecond) {
			n, err := c.Read(make([]byte, 1<<10))
			if got += int64(n); err != nil {
				t.Fatalf("after %d bytes in %v: %v; %+v", got, time.Since(began), err, r.events(Ended))
			}
		}
		rest, err := io.Copy(io.Discard, c)
		if err := errors.Join(err, <-wrote); err != nil || got+rest != size {
			t.Errorf("%d bytes slowly, %d then, of %d: %v", got, rest, size, err)
		}
		_ = c.Close()
		if e := r.await(Ended, 1)[0]; e.Ending != sock.ByPeer || e.Out != size {
			t.Errorf("told %+v", e)
		}
		r.stop()
	})
}

// TestReaderThatStopsIsReset: progress once made is none any more.
func TestReaderThatStopsIsReset(t *testing.T) {
	eachWayAndTLS(t, Limits{IdleTimeout: time.Second}, func(t *testing.T, r *trial, c writeCloser) {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		wrote := make(chan error)
		go func() {
			_, err := c.Write(make([]byte, 64<<20))
			wrote <- err
		}()
		for range 10 {
			if _, err := c.Read(make([]byte, 16<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-wrote; sock.EndingOf(err) != sock.Reset {
			t.Errorf("the client sees %v", err)
		}
		var idle *IdleError
		if e := r.await(Ended, 1)[0]; e.Ending != sock.TimedOut || !errors.As(e.Err, &idle) || !idle.Write {
			t.Errorf("told %+v", e)
		}
		r.stop()
	})
}
