package echo

import (
	"bytes"
	"context"
	"io"
	"math/bits"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// A shortServer is a server of connections in memory, which writes down the lengths of its writes.
type shortServer struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	writes []int
}

func newShortServer() *shortServer {
	return &shortServer{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *shortServer) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return noted{c, l}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *shortServer) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *shortServer) Addr() net.Addr { return &net.TCPAddr{} }

func (l *shortServer) dial() net.Conn {
	a, b := net.Pipe()
	l.conns <- b
	return a
}

type noted struct {
	net.Conn
	server *shortServer
}

func (c noted) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // as TCP has it; a pipe would have a reader read nothing
	}
	c.server.mu.Lock()
	c.server.writes = append(c.server.writes, len(p))
	c.server.mu.Unlock()
	return c.Conn.Write(p)
}

// exchange sends data in chunks to a server with faults and returns what came back.
func exchange(t *testing.T, addr string, data []byte, chunk int) []byte {
	t.Helper()
	c := dialTCP(t, addr)
	defer c.Close()
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(c)
		got <- all
	}()
	for part := range slices.Chunk(data, chunk) {
		if _, err := c.Write(part); err != nil {
			break // a reset, which the reader sees
		}
	}
	_ = c.CloseWrite()
	return <-got
}

// TestCorruptBytesAreThoseOfTheSeed: which bits flip follows from the seed and the connection's number, not from how the bytes came.
func TestCorruptBytesAreThoseOfTheSeed(t *testing.T) {
	data := pattern(300_000)
	run := func(seed uint64, chunks ...int) (all [][]byte) {
		f := mustParse(t, "corrupt=1e-3", seed)
		addr := serveTCP(t, &Server{Faults: f})
		var changed uint64
		for _, chunk := range chunks {
			got := exchange(t, addr, data, chunk)
			if len(got) != len(data) {
				t.Fatalf("%d of %d bytes came back", len(got), len(data))
			}
			for i := range got {
				if n := bits.OnesCount8(got[i] ^ data[i]); n > 1 {
					t.Fatalf("byte %d has %d bits flipped", i, n)
				} else {
					changed += uint64(n)
				}
			}
			all = append(all, got)
		}
		if done := f.Done.Corrupted.Load(); done != changed || changed == 0 {
			t.Errorf("%d bytes are changed, %d were counted", changed, done)
		}
		return all
	}
	one, again, other := run(7, 300_000, 999), run(7, 1013, 70_000), run(8, 300_000)
	if !bytes.Equal(one[0], again[0]) || !bytes.Equal(one[1], again[1]) {
		t.Error("the same seed changed other bytes")
	}
	if bytes.Equal(one[0], one[1]) || bytes.Equal(one[0], other[0]) {
		t.Error("another connection, or another seed, had the same bytes changed")
	}
	for i, got := range [][]byte{one[0], one[1], other[0]} {
		n := 0
		for k := range got {
			n += bits.OnesCount8(got[k] ^ data[k])
		}
		if n < 230 || n > 370 { // 300 wanted, give or take four standard deviations; it is the same number each time
			t.Errorf("run %d: %d bytes of 300,000 are changed", i, n)
		}
	}
}

func TestCorruptEveryByte(t *testing.T) {
	f := mustParse(t, "corrupt=100%", 1)
	c := newCorrupter(f.Corrupt, f.generator(1), &f.Done)
	data := make([]byte, 1000)
	c.flip(data)
	if i := slices.Index(data, 0); i >= 0 || f.Done.Corrupted.Load() != 1000 {
		t.Errorf("byte %d is whole", i)
	}
}

func TestResetAfter(t *testing.T) {
	const after = 100_000
	f := mustParse(t, "reset-after=100KB", 1)
	addr := serveTCP(t, &Server{Faults: f})
	for size, reset := range map[int]bool{after - 1: false, after: true, 3 * after: true} {
		data := pattern(size)
		c := dialTCP(t, addr)
		go func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, data[:min(size, after)]) {
			t.Errorf("of %d bytes %d came back", size, len(got))
		}
		if (err != nil) != reset || reset && sock.EndingOf(err) != sock.Reset {
			t.Errorf("%d bytes end with %v", size, err)
		}
		_ = c.Close()
	}
	if n := f.Done.Resets.Load(); n != 2 {
		t.Errorf("%d resets were counted", n)
	}
}

// inMemory runs test against a server of connections in memory, inside a synctest bubble.
func inMemory(t *testing.T, f *Faults, limits serve.Limits, test func(t *testing.T, l *shortServer, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		l, stop, ended := newShortServer(), make(chan struct{}), make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			<-stop
			cancel()
		}()
		s := Server{Faults: f, Limits: limits}
		go func() { ended <- s.ServeTCP(ctx, l) }()
		var once sync.Once
		end := func() {
			once.Do(func() {
				close(stop)
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		}
		test(t, l, end)
		end()
	})
}

func TestSlice(t *testing.T) {
	inMemory(t, mustParse(t, "slice=7", 1), serve.Limits{}, func(t *testing.T, l *shortServer, _ func()) {
		c := l.dial()
		defer c.Close()
		go func() { _, _ = c.Write(pattern(100)) }()
		got := make([]byte, 100)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, pattern(100)) {
			t.Error(err)
		}
		want := append(slices.Repeat([]int{7}, 14), 2)
		l.mu.Lock()
		defer l.mu.Unlock()
		if !slices.Equal(l.writes, want) {
			t.Errorf("written in %v", l.writes)
		}
	})
}

// TestDelayOverTCP: each echo is late by as much, in the rhythm in which the bytes came, and the FIN comes behind the last.
func TestDelayOverTCP(t *testing.T) {
	inMemory(t, mustParse(t, "delay=50ms", 1), serve.Limits{}, func(t *testing.T, l *shortServer, _ func()) {
		c := l.dial()
		defer c.Close()
		begin := time.Now()
		go func() {
			for i := range 10 {
				_, _ = c.Write([]byte{byte(i)})
				time.Sleep(10 * time.Millisecond)
			}
		}()
		for i := range 10 {
			var b [1]byte
			_, err := c.Read(b[:])
			want := 50*time.Millisecond + time.Duration(i)*10*time.Millisecond
			if at := time.Since(begin); err != nil || at != want || b[0] != byte(i) {
				t.Errorf("echo %d is %d, %v after the beginning, %v; want %v", i, b[0], at, err, want)
			}
		}
	})
}

func TestDelayEndsWithTheConnection(t *testing.T) {
	f := mustParse(t, "delay=1s,reset-after=5", 1)
	inMemory(t, f, serve.Limits{Grace: time.Second}, func(t *testing.T, l *shortServer, stop func()) {
		c := l.dial()
		defer c.Close()
		go func() { _, _ = c.Write([]byte("hello and more")) }()
		got, _ := io.ReadAll(c)
		if string(got) != "hello" || f.Done.Resets.Load() != 1 {
			t.Errorf("%q came back, %d resets", got, f.Done.Resets.Load())
		}
	})
}

// TestDelayDoesNotOutliveTheGrace: what waits for its time is cut with the rest.
func TestDelayDoesNotOutliveTheGrace(t *testing.T) {
	inMemory(t, mustParse(t, "delay=1m", 1), serve.Limits{Grace: time.Second}, func(t *testing.T, l *shortServer, stop func()) {
		c := l.dial()
		defer c.Close()
		_, _ = c.Write([]byte("x"))
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > time.Second+cutCheck {
			t.Errorf("it took %v to stop", took)
		}
	})
}

// TestDelayHoldsBackSoMuchAndNoMore: a client that sends more has to wait, and gets all.
func TestDelayHoldsBackSoMuchAndNoMore(t *testing.T) {
	inMemory(t, mustParse(t, "delay=1s", 1), serve.Limits{}, func(t *testing.T, l *shortServer, _ func()) {
		const size = mostDelayed + 1<<20
		c := l.dial()
		defer c.Close()
		sent := make(chan int, size>>14)
		go func() {
			n := 0
			for part := range slices.Chunk(pattern(size), 16<<10) {
				k, _ := c.Write(part)
				n += k
				sent <- n
			}
			close(sent)
		}()
		synctest.Wait()
		taken := 0
		for len(sent) > 0 {
			taken = <-sent
		}
		if taken < mostDelayed/2 || taken > mostDelayed+2*sock.BufferSize { // more those in the hands of its two goroutines
			t.Errorf("%d bytes were taken before any was due", taken)
		}
		got := make([]byte, size)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, pattern(size)) {
			t.Errorf("what came back is not what was sent: %v", err)
		}
	})
}

// TestDelayHoldsBackLittleOfAllTogether: what is held back is bounded over all connections, however small the parts and many the
// connections; each of them has its turn all the same, and at the end nothing is left of it.
func TestDelayHoldsBackLittleOfAllTogether(t *testing.T) {
	const conns, parts = 40, 30
	var all atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		var queues []*delayed
		var group sync.WaitGroup
		for range conns {
			q := newDelayed(&all)
			queues = append(queues, q)
			group.Go(func() {
				for range parts {
					q.put(make([]byte, 128<<10), time.Time{})
				}
				q.finish()
			})
		}
		synctest.Wait()
		if n := all.Load(); n < mostDelayedInAll/2 || n > mostDelayedInAll+conns*(128<<10+partCost) {
			t.Errorf("%d bytes are held back", n)
		}
		for i, q := range queues {
			n := 0
			for _, ok := q.take(); ok; _, ok = q.take() {
				n++
			}
			if n != parts {
				t.Errorf("of connection %d there were %d parts", i, n)
			}
		}
		group.Wait()
	})
	q := newDelayed(&all)
	n := 0
	for ; q.size+1+partCost <= mostDelayed; n++ {
		q.put([]byte("x"), time.Time{})
	}
	if n > mostDelayed/partCost {
		t.Errorf("%d parts of a byte are held back", n)
	}
	q.forget()
	if left := all.Load(); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
}
