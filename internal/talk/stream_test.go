package talk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/sock"
)

// echo answers what comes with the same, and its FIN with one.
func echo(t *testing.T, peer *net.TCPConn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(peer, peer)
		_ = peer.CloseWrite()
	}()
	t.Cleanup(func() { peer.Close(); <-done })
}

func TestStreamIsExactBothWaysAtOnce(t *testing.T) {
	// More than all buffers on the way hold: writing all before reading would deadlock.
	data := make([]byte, 32<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	ours, peer := tcpPair(t)
	echo(t, peer)
	var out bytes.Buffer
	s := Conversation{}.Stream(context.Background(), ours, io.NopCloser(bytes.NewReader(data)), Exact{&out})
	if s.Ending != sock.ByUs || !bytes.Equal(out.Bytes(), data) {
		t.Fatalf("%v; output equals input: %v", s, bytes.Equal(out.Bytes(), data))
	}
	lines := int64(bytes.Count(data, []byte{'\n'}) + 1)
	want := Count{Bytes: int64(len(data)), Messages: lines}
	if s.Sent != want || s.Received != want {
		t.Errorf("sent %+v, received %+v, want %+v", s.Sent, s.Received, want)
	}
}

func TestStreamHearsOutAPeerThatAnswersAfterOurFIN(t *testing.T) {
	ours, peer := tcpPair(t)
	go func() {
		all, _ := io.ReadAll(peer)
		_, _ = peer.Write(bytes.ToUpper(all))
		peer.Close()
	}()
	var out bytes.Buffer
	s := Conversation{}.Stream(context.Background(), ours, input("late"), Exact{&out})
	if s.Ending != sock.ByUs || !s.PeerClosed || out.String() != "LATE" {
		t.Errorf("%v; output %q", s, out.String())
	}
	wantContains(t, s.String(), "we closed (end of input), then the peer (FIN); sent 4 bytes in 1 line, received 4 bytes in 1 line in ")
}

func TestStreamEndsWithThePeersFIN(t *testing.T) {
	for _, interactive := range []bool{false, true} {
		ours, peer := tcpPair(t)
		_, _ = peer.Write([]byte("bye\n"))
		peer.Close()
		in, _ := io.Pipe() // never brings anything
		var out bytes.Buffer
		c := Conversation{Interactive: interactive, Wait: time.Millisecond}
		s := c.Stream(context.Background(), ours, in, Exact{&out})
		if s.Ending != sock.ByPeer || out.String() != "bye\n" {
			t.Errorf("interactive %v: %v; output %q", interactive, s, out.String())
		}
	}
}

func TestStreamSendsOnAfterThePeersFIN(t *testing.T) {
	ours, peer := tcpPair(t)
	_ = peer.CloseWrite()
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(peer)
		got <- string(all)
	}()
	s := Conversation{}.Stream(context.Background(), ours, input(strings.Repeat("x", 1<<20)), Exact{io.Discard})
	// Which FIN came first is a race here; that nothing was lost is not.
	if s.Ending != sock.ByPeer && s.Ending != sock.ByUs {
		t.Error(s)
	}
	if n := len(<-got); n != 1<<20 {
		t.Errorf("the peer got %d bytes", n)
	}
}

func TestStreamTellsAReset(t *testing.T) {
	ours, peer := tcpPair(t)
	in, typed := io.Pipe()
	go func() {
		_, _ = typed.Write([]byte("x"))
		_, _ = io.ReadFull(peer, make([]byte, 1))
		_, _ = peer.Write([]byte("last words"))
		_ = peer.SetLinger(0)
		// The words must be read before the reset can overtake them: that is TCP.
		time.Sleep(50 * time.Millisecond)
		peer.Close()
	}()
	var out bytes.Buffer
	s := Conversation{}.Stream(context.Background(), ours, in, Exact{&out})
	if s.Ending != sock.Reset || out.String() != "last words" {
		t.Errorf("%v; output %q", s, out.String())
	}
	wantContains(t, s.String(), "the peer reset the connection (RST); sent 1 byte in 1 line")
}

func TestStreamTellsAResetThatAWriteMeets(t *testing.T) {
	ours, peer := tcpPair(t)
	_ = peer.SetLinger(0)
	peer.Close()
	s := Conversation{}.Stream(context.Background(), ours, input(strings.Repeat("x", 8<<20)), Exact{io.Discard})
	if s.Ending != sock.Reset {
		t.Error(s)
	}
}

// The clock is the test's in what follows.

func TestStreamExplainsAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		go func() {
			_, _ = io.ReadFull(peer, make([]byte, 2))
			time.Sleep(time.Hour)
			_, _ = peer.Write([]byte("at last"))
			peer.Close()
		}()
		n := newNotes()
		start := time.Now()
		go func() {
			<-n.told
			if waited := time.Since(start); waited != hangTime {
				t.Errorf("told after %v", waited)
			}
		}()
		var out bytes.Buffer
		s := Conversation{Note: n.add}.Stream(t.Context(), ours, input("x\n"), Exact{&out})
		if s.Ending != sock.ByUs || out.String() != "at last" || len(n.all) != 1 {
			t.Errorf("%v; output %q; notes %q", s, out.String(), n)
		}
		wantContains(t, n.String(), "waiting for the peer's FIN (--wait bounds this)")
	})
}

func TestStreamWaitCountsSilenceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		go func() {
			for range 3 {
				time.Sleep(4 * time.Second)
				_, _ = peer.Write([]byte("."))
			}
		}()
		start := time.Now()
		var out bytes.Buffer
		s := Conversation{Wait: 5 * time.Second}.Stream(t.Context(), ours, input(""), Exact{&out})
		if s.Ending != sock.TimedOut || out.String() != "..." || time.Since(start) != 17*time.Second {
			t.Errorf("%v; output %q after %v", s, out.String(), time.Since(start))
		}
		wantContains(t, s.String(), "no FIN for 5s after ours (timeout)")
	})
}

// A slow reader of our output is not the peer's silence.
func TestStreamDoesNotBlameThePeerForASlowOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		go func() {
			_, _ = peer.Write([]byte("x"))
			time.Sleep(time.Second)
			peer.Close()
		}()
		n := newNotes()
		slow := writerFunc(func(p []byte) (int, error) { time.Sleep(time.Minute); return len(p), nil })
		s := Conversation{Wait: 3 * time.Second, Note: n.add}.Stream(t.Context(), ours, input(""), Exact{slow})
		if s.Ending != sock.ByUs || len(n.all) != 0 {
			t.Errorf("%v; notes %q", s, n)
		}
	})
}

func TestStreamWithoutPatience(t *testing.T) {
	ours, peer := tcpPair(t)
	defer peer.Close()
	s := Conversation{Wait: -1}.Stream(context.Background(), ours, input("x"), Exact{io.Discard})
	if s.Ending != sock.ByUs {
		t.Error(s)
	}
}

func TestStreamLeavesAPeerThatStays(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{0: leaveTime, 5 * time.Second: 5 * time.Second, -1: 0} {
		synctest.Test(t, func(t *testing.T) {
			ours, peer := net.Pipe()
			defer peer.Close()
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			start := time.Now()
			s := Conversation{Interactive: true, Wait: wait}.Stream(t.Context(), ours, input("x\n"), Exact{io.Discard})
			if s.Ending != sock.ByUs || s.PeerClosed || time.Since(start) != want {
				t.Errorf("%v after %v", s, time.Since(start))
			}
		})
	}
}

func TestStreamTellsOfAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		n := newNotes()
		go func() {
			time.Sleep(time.Minute)
			peer.Close()
		}()
		Conversation{Note: n.add}.Stream(t.Context(), ours, input("x"), Exact{io.Discard})
		if n.String() != "the peer does not read: what we send waits for it" {
			t.Errorf("notes %q", n)
		}
	})
}

func TestStreamFlushesASplitCharacter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		var out buffer
		go func() {
			_, _ = peer.Write([]byte("caf\xc3"))
			time.Sleep(splitTime / 2)
			_, _ = peer.Write([]byte("\xa9\xe2\x82"))
			time.Sleep(2 * splitTime)
			synctest.Wait()
			if got := out.String(); got != `café\xe2\x82` {
				t.Errorf("after a while %q", got)
			}
			_, _ = peer.Write([]byte("|\xf0"))
			peer.Close()
		}()
		Conversation{}.Stream(t.Context(), ours, input(""), NewEscaped(&out, false))
		if got := out.String(); got != `café\xe2\x82|\xf0` {
			t.Errorf("at the end %q", got)
		}
	})
}

func TestStreamEndsWithItsContext(t *testing.T) {
	ours, _ := tcpPair(t)
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("told to")
	cancel(cause)
	s := Conversation{}.Stream(ctx, ours, in, Exact{io.Discard})
	if s.Ending != sock.ByUs || !errors.Is(s.Err, cause) || s.How != "we closed (told to)" {
		t.Errorf("%v: %v", s, s.Err)
	}
}

func TestStreamEndsWithItsOutput(t *testing.T) {
	ours, peer := tcpPair(t)
	echo(t, peer)
	in, typed := io.Pipe()
	go func() { _, _ = typed.Write([]byte("x")) }()
	gone := writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE })
	s := Conversation{}.Stream(context.Background(), ours, in, Exact{gone})
	var output *OutputError
	if !errors.As(s.Err, &output) || !errors.Is(output, syscall.EPIPE) {
		t.Errorf("%v: %v", s, s.Err)
	}
}

func TestStreamEndsWithAnInputThatFails(t *testing.T) {
	ours, peer := tcpPair(t)
	echo(t, peer)
	in, typed := io.Pipe()
	typed.CloseWithError(errors.New("disk on fire"))
	s := Conversation{}.Stream(context.Background(), ours, in, Exact{io.Discard})
	if s.Ending != sock.Failed || s.Err.Error() != "read input: disk on fire" {
		t.Errorf("%v: %v", s, s.Err)
	}
}

func TestStreamRaisesAPanicInItsCaller(t *testing.T) {
	ours, peer := tcpPair(t)
	echo(t, peer)
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "printer jam") {
			t.Errorf("recovered %q", p)
		}
	}()
	jam := writerFunc(func([]byte) (int, error) { panic("printer jam") })
	Conversation{}.Stream(context.Background(), ours, input("x"), Exact{jam})
	t.Error("returned")
}

func TestStreamSendsCRLF(t *testing.T) {
	ours, peer := tcpPair(t)
	echo(t, peer)
	var out bytes.Buffer
	Conversation{CRLF: true}.Stream(context.Background(), ours, input("a\nb\r\n\nc"), Exact{&out})
	if got := out.String(); got != "a\r\nb\r\n\r\nc" {
		t.Errorf("sent %q", got)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
