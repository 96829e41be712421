package echo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A way has the server serve TCP by event loops, if there are any, or by goroutines: what it makes of a listener of
// package net is no such listener any more.
type way func(net.Listener) net.Listener

func byLoops(l net.Listener) net.Listener      { return l }
func byGoroutines(l net.Listener) net.Listener { return struct{ net.Listener }{l} }

func eachWay(t *testing.T, test func(*testing.T, way)) {
	t.Run("loops", func(t *testing.T) { test(t, byLoops) })
	t.Run("goroutines", func(t *testing.T) { test(t, byGoroutines) })
}

// serveTCP runs s on a port of its own until the test ends.
func serveTCP(t testing.TB, s *Server) (addr string) { return serveTCPBy(t, s, byLoops) }

func serveTCPBy(t testing.TB, s *Server, how way) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = how(l)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.ServeTCP(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dialTCP(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7 >> (i % 5))
	}
	return data
}

// TestBytesOrderAndCount: for any chunking what comes back is what was sent, then FIN.
func TestBytesOrderAndCount(t *testing.T) { eachWay(t, bytesOrderAndCount) }

func bytesOrderAndCount(t *testing.T, how way) {
	addr := serveTCPBy(t, &Server{}, how)
	rapid.Check(t, func(rt *rapid.T) {
		data := pattern(rapid.IntRange(0, 200_000).Draw(rt, "size"))
		chunk := rapid.IntRange(1, 70_000).Draw(rt, "chunk")
		c, err := net.Dial("tcp", addr)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() {
			for rest := data; len(rest) > 0; {
				n := min(max(chunk, len(data)/500), len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			_ = c.(*net.TCPConn).CloseWrite()
		})
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, data) {
			rt.Fatalf("%d bytes of %d came back, or others; %v", len(got), len(data), err)
		}
	})
}

// TestSlowReaderIsNotBufferedFor: a client that only writes is stopped by what the kernel
// holds, the server's memory stays as it is, and nothing is lost.
func TestSlowReaderIsNotBufferedFor(t *testing.T) { eachWay(t, slowReaderIsNotBufferedFor) }

func slowReaderIsNotBufferedFor(t *testing.T, how way) {
	c := dialTCP(t, serveTCPBy(t, &Server{}, how))
	before := heap()
	data := pattern(1 << 20)
	written := 0
	for {
		_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := c.Write(data)
		written += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil || written > 1<<30 {
			t.Fatalf("after %d bytes that nobody has read: %v", written, err)
		}
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("for %d bytes the heap grew by %d", written, grown)
	}
	_ = c.CloseWrite()
	got, err := io.Copy(io.Discard, c)
	if err != nil || int(got) != written {
		t.Errorf("%d bytes of %d came back: %v", got, written, err)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestHalfClosedClientGetsEverything: a client that sends all, then its FIN, and reads much later.
func TestHalfClosedClientGetsEverything(t *testing.T) { eachWay(t, halfClosedClientGetsEverything) }

func halfClosedClientGetsEverything(t *testing.T, how way) {
	c := dialTCP(t, serveTCPBy(t, &Server{}, how))
	data := pattern(400_000) // most of it is on its way when the FIN is
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	time.Sleep(20 * time.Millisecond)
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
}

func TestResetInMidEcho(t *testing.T) { eachWay(t, resetInMidEcho) }

func resetInMidEcho(t *testing.T, how way) {
	ended := make(chan serve.Event, 10)
	addr := serveTCPBy(t, &Server{Event: func(e serve.Event) {
		if e.Kind == serve.Ended {
			ended <- e
		}
	}}, how)
	other := dialTCP(t, addr)
	for range 5 {
		c := dialTCP(t, addr)
		if _, err := c.Write(pattern(100_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		_ = c.SetLinger(0)
		_ = c.Close()
		if e := <-ended; e.Ending != sock.Reset {
			t.Errorf("told as %v: %v", e.Ending, e.Err)
		}
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
		t.Errorf("another client: %v", err)
	}
}

func TestManyClientsAtOnce(t *testing.T) { eachWay(t, manyClientsAtOnce) }

func manyClientsAtOnce(t *testing.T, how way) {
	addr := serveTCPBy(t, &Server{}, how)
	var group sync.WaitGroup
	for i := range 50 {
		c := dialTCP(t, addr)
		data := pattern(10_000 + i)
		group.Go(func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		})
		group.Go(func() {
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("client %d: %d bytes of %d, %v", i, len(got), len(data), err)
			}
		})
	}
	group.Wait()
}

func BenchmarkTCP1Conn64B(b *testing.B)   { benchmarkTCP(b, 1, 64) }
func BenchmarkTCP64Conns64B(b *testing.B) { benchmarkTCP(b, 64, 64) }
func BenchmarkTCP64Conns1KB(b *testing.B) { benchmarkTCP(b, 64, 1024) }

// benchmarkTCP measures round trips in a closed loop, shared by conns connections.
func benchmarkTCP(b *testing.B, conns, size int) {
	addr := serveTCP(b, &Server{})
	rounds := make(chan int, conns)
	for i := range conns {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		rounds <- n
	}
	clients := make([]*net.TCPConn, conns)
	for i := range clients {
		clients[i] = dialTCP(b, addr)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() {
			buf := make([]byte, size)
			for range <-rounds {
				if _, err := c.Write(buf); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
}
