package sock

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newDialer(t *testing.T) *Dialer {
	t.Helper()
	d, err := NewDialer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// connect dials and waits for the outcome.
func connect(t *testing.T, d *Dialer, to netip.AddrPort) (int, Outcome) {
	t.Helper()
	fd, o, done := d.Dial(to)
	if !done {
		o = await(t, d, fd, to)
	}
	return fd, o
}

func await(t *testing.T, d *Dialer, fd int, to netip.AddrPort) Outcome {
	t.Helper()
	for {
		fds, _, err := d.Wait(nil, 10*time.Second)
		if err != nil || len(fds) == 0 {
			t.Fatalf("no outcome of %v: %v", to, err)
		}
		for _, ready := range fds {
			if ready != fd {
				continue
			}
			if o, done := d.Outcome(fd, to); done {
				return o
			}
		}
	}
}

func listenOn(t *testing.T, addr string) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener), l.Addr().(*net.TCPAddr).AddrPort()
}

// One socket after another, and the same one again, tells what came of each connect.
func TestDialerTellsAndReuses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		d := newDialer(t)
		_, open := listenOn(t, addr)
		gone, closed := listenOn(t, addr)
		_ = gone.Close()
		for range 5 {
			fd, o := connect(t, d, closed)
			if !errors.Is(o.Err, syscall.ECONNREFUSED) || o.Network || o.Ours || o.Self {
				t.Fatalf("%v: a refused connect is %+v", closed, o)
			}
			d.Free(fd, closed.Addr())
			fd, o = connect(t, d, open)
			if o.Err != nil || o.Ours || o.Self || o.Local.Port() == 0 {
				t.Fatalf("%v: a connect is %+v", open, o)
			}
			d.Abort(fd, open.Addr())
		}
		if len(d.sockets) != 1 {
			t.Errorf("%d sockets were made, want one that is used again", len(d.sockets))
		}
	}
}

// An aborted connection is reset: it leaves no TIME_WAIT behind.
func TestAbortResets(t *testing.T) {
	d := newDialer(t)
	l, addr := listenOn(t, "127.0.0.1:0")
	fd, o := connect(t, d, addr)
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d.Abort(fd, addr.Addr())
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer read %v, want a reset", err)
	}
}

// A listener that resets at once was connected to all the same, and is told apart from a refusal.
func TestResetIsNoRefusal(t *testing.T) {
	d := newDialer(t)
	l, addr := listenOn(t, "127.0.0.1:0")
	fd, _, done := d.Dial(addr)
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
	if done {
		t.Skip("the connect was over before the reset") // loopback answers within connect(2)
	}
	if o, done := d.Outcome(fd, addr); !done || errors.Is(o.Err, syscall.ECONNREFUSED) {
		t.Errorf("outcome %+v, %v", o, done)
	}
}

// A socket that is connected to itself has found nobody.
func TestSelfConnect(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		d := newDialer(t)
		gone, local := listenOn(t, netip.AddrPortFrom(netip.MustParseAddr(ip), 0).String())
		_ = gone.Close()
		fd, err := d.take(local.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, d.zones.sockaddr(local)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, d.zones.sockaddr(local)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			t.Fatal(err)
		}
		if o := await(t, d, fd, local); !o.Self || o.Local != local {
			t.Errorf("a connection to oneself is %+v", o)
		}
	}
}

func TestWakeAndTimeout(t *testing.T) {
	d := newDialer(t)
	d.Wake()
	d.Wake()
	if fds, more, err := d.Wait(nil, -1); err != nil || len(fds) != 0 || more {
		t.Errorf("woken: %v, %v, %v", fds, more, err)
	}
	if fds, _, err := d.Wait(nil, time.Millisecond); err != nil || len(fds) != 0 {
		t.Errorf("timed out: %v, %v", fds, err)
	}
}

// What this machine cannot do is ours: it says nothing of the target.
func TestOurs(t *testing.T) {
	d := newDialer(t)
	if _, o, done := d.Dial(netip.MustParseAddrPort("255.255.255.255:80")); !done || !o.Ours || o.Err == nil {
		t.Errorf("a connect to broadcast is %+v, %v", o, done)
	}
	d = newDialer(t)
	d.Interface = "nosuchnic0"
	if _, o, done := d.Dial(netip.MustParseAddrPort("127.0.0.1:80")); !done || !o.Ours || o.Err == nil {
		t.Errorf("a connect by no interface is %+v, %v", o, done)
	}
	d = newDialer(t)
	d.Source4 = netip.MustParseAddr("192.0.2.99")
	if _, o, done := d.Dial(netip.MustParseAddrPort("127.0.0.1:80")); !done || !o.Ours || !errors.Is(o.Err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a connect from a stranger's address is %+v, %v", o, done)
	}
}

func TestEndingOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Ending
	}{
		{nil, ByPeer},
		{io.EOF, ByPeer},
		{&net.OpError{Err: os.NewSyscallError("read", syscall.ECONNRESET)}, Reset},
		{syscall.EPIPE, Reset},
		{syscall.ECONNREFUSED, Reset},
		{os.ErrDeadlineExceeded, TimedOut},
		{syscall.ETIMEDOUT, TimedOut},
		{net.ErrClosed, ByUs},
		{syscall.EMFILE, Limit},
		{syscall.ENOBUFS, Limit},
		{syscall.EIO, Failed},
	} {
		if got := EndingOf(c.err); got != c.want {
			t.Errorf("EndingOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

// The error queue is parsed whatever a kernel puts into it.
func FuzzParseExtendedError(f *testing.F) {
	f.Add([]byte{111, 0, 0, 0, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, ok := parseExtendedError(data); ok && e.From.Is4In6() {
			t.Fatalf("the offender %v is not unmapped", e.From)
		}
	})
}
