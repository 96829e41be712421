package sock

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// streamPair returns a client, and the Stream that it is to us.
func streamPair(t *testing.T, addr string) (*net.TCPConn, *Stream) {
	t.Helper()
	given, to := listenOn(t, addr)
	l, err := ListenStreams(given)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if s.RemoteAddr().String() != client.LocalAddr().String() || s.LocalAddr().String() != to.String() {
		t.Errorf("from %v to %v, want %v to %v", s.RemoteAddr(), s.LocalAddr(), client.LocalAddr(), to)
	}
	return client.(*net.TCPConn), s
}

func newLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func isNamed(t *testing.T, l *Loop, s *Stream) {
	t.Helper()
	if keys := l.Wait(10 * time.Second); len(keys) != 1 || keys[0] != s.Key() {
		t.Fatalf("named are %v, want %d", keys, s.Key())
	}
}

func TestLoopNamesWhatIsReady(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		client, s := streamPair(t, addr)
		l := newLoop(t)
		if err := l.Watch(s); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<20)
		if n, err := s.Read(buf); n != 0 || err != ErrWouldBlock {
			t.Errorf("nothing to read is %d, %v", n, err)
		}
		if keys := l.Wait(time.Millisecond); len(keys) != 0 {
			t.Errorf("named are %v", keys)
		}
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		isNamed(t, l, s)
		if n, err := s.Read(buf); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		sent := 0
		for {
			n, err := s.Write(buf)
			if sent += n; err != nil {
				if err != ErrWouldBlock {
					t.Fatal(err)
				}
				break
			}
		}
		if err := l.Blocked(s, true); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, client, int64(sent)); err != nil {
			t.Fatal(err)
		}
		isNamed(t, l, s) // there is room
		if err := errors.Join(l.Blocked(s, false), client.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		isNamed(t, l, s)
		if _, err := s.Read(buf); err != io.EOF {
			t.Errorf("a FIN is %v", err)
		}
		if err := errors.Join(s.SetLinger(0), s.Close()); err != nil {
			t.Error(err)
		}
		if _, err := client.Read(buf); EndingOf(err) != Reset {
			t.Errorf("the client sees %v, a reset was due", err)
		}
	}
}

func TestStreamTellsResets(t *testing.T) {
	client, s := streamPair(t, "127.0.0.1:0")
	l := newLoop(t)
	if err := errors.Join(l.Watch(s), client.SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	isNamed(t, l, s)
	if _, err := s.Read(make([]byte, 1)); EndingOf(err) != Reset {
		t.Errorf("a reset is %v", err)
	}
	if _, err := s.Write([]byte("x")); EndingOf(err) != Reset { // and no signal
		t.Errorf("after it, writing is %v", err)
	}
	_ = s.Close()
}

func TestLoopWakes(t *testing.T) {
	l, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	l.Wake()
	l.Wake()
	if keys := l.Wait(-1); len(keys) != 0 {
		t.Errorf("woken with %v", keys)
	}
	if keys := l.Wait(0); len(keys) != 0 {
		t.Errorf("named are %v", keys)
	}
	l.Close()
	l.Wake() // writes to nobody
}

func TestStreamListenerEnds(t *testing.T) {
	given, to := listenOn(t, "127.0.0.1:0")
	l, err := ListenStreams(given)
	if err != nil {
		t.Fatal(err)
	}
	if err := given.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that was taken over: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	_ = l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting ended with %v", err)
	}
	if c, err := net.Dial("tcp", to.String()); err == nil {
		_ = c.Close()
		t.Error("somebody still listens")
	}
	if _, err := ListenStreams(struct{ net.Listener }{given}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("what is no TCP listener: %v", err)
	}
}

func TestPatientTellsResetsOnce(t *testing.T) {
	client, server := tcpPair(t)
	p := NewPatient(server)
	p.Eager()
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, ErrWouldBlock) {
		t.Fatalf("nothing to read is %v", err)
	}
	_, _ = client.SetLinger(0), client.Close()
	if err := p.Ready(); EndingOf(err) != Reset || p.Finished() {
		t.Errorf("a reset is %v", err)
	}
}
