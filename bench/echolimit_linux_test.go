package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkEchoLimit has 500 clients at a server with 64 descriptors. Each listens for a moment before it speaks, since who speaks to a
// socket that is closed has a RST, whatever the server does. Who is let in has a message echoed twice a second; who is not
// must be told so by a FIN, and comes again after a second. What counts: the server's processor, that nobody who is in is
// disturbed, and how long after there is room somebody new is served.
func BenchmarkEchoLimit(b *testing.B) {
	const clients, measured, tries = 500, 4 * time.Second, 10
	_, there := processors(b)
	s := serve(b, there, "sonde", "/bin/sh", "-c", `ulimit -n 64 && exec "$0" "$@"`, build(b, "sonde"), "echo", "--tcp", "127.0.0.1:0")
	for b.Loop() {
		c := crowd{addr: s.addr.String(), stop: make(chan struct{})}
		for i := range clients {
			c.group.Go(func() { c.client(i) })
		}
		time.Sleep(2 * time.Second) // all have come, and those in excess once more
		before, err := processorTime(s.pid)
		if err != nil {
			b.Fatalf("sonde is gone: %v", err)
		}
		start := time.Now()
		time.Sleep(measured)
		after, err := processorTime(s.pid)
		if err != nil {
			b.Fatalf("sonde is gone: %v", err)
		}
		cpu := (after - before).Seconds() / time.Since(start).Seconds()
		in, refused, unclean, disturbed := c.in.Load(), c.refused.Load(), c.unclean.Load(), c.disturbed.Load()
		close(c.stop)
		c.group.Wait()
		time.Sleep(200 * time.Millisecond) // the server sees them go
		b.ReportMetric(100*cpu, "cpu-%")
		b.ReportMetric(float64(in), "served")
		b.ReportMetric(float64(refused), "refused-by-FIN")
		b.ReportMetric(float64(unclean), "refused-otherwise")
		b.ReportMetric(float64(disturbed), "disturbed")
		b.ReportMetric(recovery(b, s.addr.String(), tries).Seconds()*1000, "recovery-max-ms")
		if cpu > 0.05 || unclean > 0 || disturbed > 0 || in < 32 || refused < clients-64 {
			b.Errorf("at the limit: %.1f %% of a processor, %d served, %d refused by a FIN, %d otherwise, %d disturbed; first %v",
				100*cpu, in, refused, unclean, disturbed, c.first.Load())
		}
	}
	b.ReportMetric(0, "ns/op")
}

// A crowd is more clients than a server lets in.
type crowd struct {
	addr                            string
	stop                            chan struct{}
	group                           sync.WaitGroup
	in, refused, unclean, disturbed atomic.Int64
	first                           atomic.Value // the first error that must not be
}

// client comes until it is let in, and stays.
func (c *crowd) client(number int) {
	for c.pause(time.Duration(number) * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", c.addr, 5*time.Second)
		if err != nil {
			c.count(&c.unclean, fmt.Errorf("connect: %w", err))
		} else if c.stay(conn, number) {
			return
		}
		if !c.pause(time.Second) {
			return
		}
	}
}

// stay has messages echoed until the crowd is to stop, and says whether it was let in.
func (c *crowd) stay(conn net.Conn, number int) bool {
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		c.refused.Add(1)
		return false
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.count(&c.unclean, fmt.Errorf("before a word was said: %w", err))
		return false
	}
	for i := 0; ; i++ {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		err := exchange(conn, fmt.Appendf(nil, "client %d, message %d", number, i))
		switch {
		case err == nil && i == 0:
			c.in.Add(1)
		case err != nil && i > 0:
			c.count(&c.disturbed, err)
			return true
		case err != nil:
			c.count(&c.unclean, err)
			return false
		}
		if !c.pause(500 * time.Millisecond) {
			return true
		}
	}
}

func (c *crowd) count(n *atomic.Int64, err error) {
	n.Add(1)
	c.first.CompareAndSwap(nil, err.Error())
}

// pause says whether to go on.
func (c *crowd) pause(d time.Duration) bool {
	select {
	case <-c.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// recovery fills a server, has one go, and returns the longest time until somebody new is served, of so many tries.
func recovery(b *testing.B, addr string, tries int) (longest time.Duration) {
	b.Helper()
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for {
		c, err := served(addr)
		if err != nil {
			break
		}
		held = append(held, c)
		if len(held) > 64 {
			b.Fatal("a server with 64 descriptors has more connections")
		}
	}
	for range tries {
		_ = held[0].Close()
		start := time.Now()
		c, err := served(addr)
		for ; err != nil; c, err = served(addr) {
			if time.Since(start) > 10*time.Second {
				b.Fatalf("nobody is served after there was room: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
		longest = max(longest, time.Since(start))
		held = append(held[1:], c)
	}
	return longest
}

// served connects and has a message echoed.
func served(addr string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if err := exchange(c, []byte("is there room?")); err != nil {
		_ = c.Close()
		return nil, errors.Join(err, os.ErrClosed)
	}
	return c, nil
}
