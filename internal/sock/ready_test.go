package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// tcpPair returns both ends of a connection over loopback.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestReaderReadsWhatComes(t *testing.T) {
	pipeA, pipeB := net.Pipe()
	tcpA, tcpB := tcpPair(t)
	for name, pair := range map[string][2]net.Conn{"socket": {tcpA, tcpB}, "no socket": {pipeA, pipeB}} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			want := bytes.Repeat([]byte("0123456789abcdef!"), 10_000)
			go func() {
				_, _ = pair[0].Write(want)
				_ = pair[0].Close()
			}()
			r := NewReader(pair[1], new(Buffers))
			var got []byte
			for {
				data, err := r.Next()
				got = append(got, data...)
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					break
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, or others", len(got), len(want))
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestReaderKeepsNoBufferWhileItWaits(t *testing.T) {
	client, server := tcpPair(t)
	r := NewReader(server, new(Buffers))
	if r.raw == nil {
		t.Skip("this system does not say when there is something to read")
	}
	_ = server.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if r.lent != nil {
		t.Error("a buffer is held after a read that brought nothing")
	}
	_ = server.SetReadDeadline(time.Time{})
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	data, err := r.Next()
	if err != nil || string(data) != "x" || r.lent == nil {
		t.Errorf("%q, %v", data, err)
	}
	r.Release()
	if r.lent != nil {
		t.Error("released and still held")
	}
}

func TestReaderTellsResetAndClose(t *testing.T) {
	defer goleak.VerifyNone(t)
	client, server := tcpPair(t)
	_ = client.SetLinger(0)
	_ = client.Close()
	r := NewReader(server, new(Buffers))
	if _, err := r.Next(); EndingOf(err) != Reset {
		t.Errorf("a reset is %v (%v)", EndingOf(err), err)
	}
	_, server = tcpPair(t)
	r = NewReader(server, new(Buffers))
	ended := make(chan error)
	go func() {
		_, err := r.Next()
		ended <- err
	}()
	_ = server.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed here: %v", err)
	}
}
