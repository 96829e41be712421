package serve

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go4.org/netipx"

	"sonde/internal/sock"
)

func TestRefusedAreToldByWhyAndCounted(t *testing.T) { eachWay(t, refusedAreToldByWhyAndCounted) }

func refusedAreToldByWhyAndCounted(t *testing.T, handle func(*Conn) error) {
	var deny netipx.IPSetBuilder
	deny.Add(netip.MustParseAddr("127.0.0.9"))
	denied, err := deny.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	l := loopback(t)
	r := start(t, Limits{MaxConns: 3, MaxPerSource: 2, Access: Access{Deny: denied}}, handle, l)
	for _, from := range []string{"127.0.0.2", "127.0.0.2", "127.0.0.3"} {
		exchange(t, dialFrom(t, l, from), "inside")
	}
	for from, why := range map[string]Refusal{"127.0.0.4": Full, "127.0.0.9": Denied} {
		expectRefusal(t, dialFrom(t, l, from))
		if n := r.server.Counts.Refused[why].Load(); n != 1 {
			t.Errorf("%d counted as %v", n, why)
		}
	}
	last := dialFrom(t, l, "127.0.0.9")
	expectRefusal(t, last)
	refused := r.await(Refused, 2)
	for _, e := range refused {
		if want := map[Refusal]string{Full: "127.0.0.4", Denied: "127.0.0.9"}[e.Why]; e.Peer.Addr().String() != want || e.Count != 1 {
			t.Errorf("told %+v", e)
		}
	}
	c := r.server.Counts
	if c.Open.Load() != 3 || c.Accepted.Load() != 3 {
		t.Errorf("counts: %d open, %d accepted", c.Open.Load(), c.Accepted.Load())
	}
	r.cancel(ErrNow)
	<-r.served
	if c.Open.Load() != 0 || c.In.Load() != 18 || c.Out.Load() != 18 {
		t.Errorf("counts in the end: %d open, %d in, %d out", c.Open.Load(), c.In.Load(), c.Out.Load())
	}
}

func TestMaxPerSourceIsForThoseWhoAreThere(t *testing.T) {
	eachWay(t, maxPerSourceIsForThoseWhoAreThere)
}

func maxPerSourceIsForThoseWhoAreThere(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{MaxPerSource: 1}, handle, l)
	for i := 1; i <= 3; i++ {
		c := dialFrom(t, l, "127.0.0.2")
		exchange(t, c, "inside")
		expectRefusal(t, dialFrom(t, l, "127.0.0.2"))
		exchange(t, dialFrom(t, l, netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}).String()), "another")
		_ = c.Close()
		r.await(Ended, i)
	}
	if n := r.server.Counts.Refused[FullOfOne].Load(); n != 3 {
		t.Errorf("%d counted", n)
	}
	r.cancel(ErrNow)
	<-r.served
}

func dialFrom(t *testing.T, l net.Listener, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", l.Addr().String())
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Skip(err) // not all of 127/8 is there on every system
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// expectRefusal wants a clean end, even though the client has something to say.
func expectRefusal(t *testing.T, c net.Conn) {
	t.Helper()
	_, _ = c.Write([]byte("let me in"))
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("a refused client sees %d bytes, %v", n, err)
	}
}

// TestStopWithAThousand: the quiet ones are half-closed and drained, those who talk come to their end, and those who do not read are cut
// and counted.
func TestStopWithAThousand(t *testing.T) {
	eachWay(t, func(t *testing.T, handle func(*Conn) error) {
		t.Parallel() // it takes as long as the grace
		stopWithAThousand(t, handle)
	})
}

func stopWithAThousand(t *testing.T, handle func(*Conn) error) {
	quiet, talking, deaf := 982, 15, 3
	if underRace {
		quiet = 100
	}
	l := loopback(t)
	r := start(t, Limits{Grace: 10 * time.Second}, handle, l)
	var group sync.WaitGroup
	for range quiet {
		c := dial(t, l)
		exchange(t, c, "quiet")
		group.Go(func() { expectFIN(t, c) })
	}
	stopped := make(chan struct{})
	for range talking {
		c := dial(t, l)
		exchange(t, c, "talking")
		group.Go(func() { talk(c, stopped) })
	}
	for range deaf {
		c := dial(t, l)
		exchange(t, c, "not yet deaf")
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		group.Go(func() { send(c) })
	}
	r.cancel(nil)
	close(stopped)
	ended := r.stop()
	group.Wait()
	cut := 0
	for _, e := range ended {
		if e.Cut {
			cut++
		}
		if e.Ending != sock.ByPeer && e.Ending != sock.ByUs {
			t.Errorf("told %+v", e)
		}
	}
	if len(ended) != quiet+talking+deaf || cut != deaf {
		t.Errorf("%d ended, %d cut", len(ended), cut)
	}
}

func expectFIN(t *testing.T, c *net.TCPConn) {
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("a quiet client sees %v", err)
	}
	_ = c.Close()
}

// talk sends and receives until it has been told to stop.
func talk(c *net.TCPConn, stopped <-chan struct{}) {
	defer func() { _ = c.Close() }()
	for buf := make([]byte, 1); ; {
		if _, err := c.Write(buf); err != nil {
			return
		}
		if _, err := c.Read(buf); err != nil {
			return
		}
		select {
		case <-stopped:
			return
		default:
		}
	}
}

// send writes until the connection has ended, and never reads.
func send(c *net.TCPConn) {
	for data := make([]byte, 1<<20); ; {
		if _, err := c.Write(data); err != nil {
			return
		}
	}
}

// TestManyComeAndGo: nothing of those who have gone stays.
func TestManyComeAndGo(t *testing.T) { eachWay(t, manyComeAndGo) }

func manyComeAndGo(t *testing.T, handle func(*Conn) error) {
	n := 10_000
	if underRace || testing.Short() {
		n = 1_000
	}
	l := loopback(t)
	r := start(t, Limits{IdleTimeout: time.Hour}, handle, l)
	come := func(i int) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if i%4 != 0 {
			exchange(t, c, "x")
		}
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	for i := range 100 { // what the first need stays, for the next
		come(i)
	}
	r.await(Ended, 100)
	before, descriptors := memory(), countDescriptors(t)
	for i := range n {
		come(i)
	}
	r.await(Ended, n+100)
	r.mu.Lock()
	r.told = nil // events are this test's, not the server's
	r.mu.Unlock()
	if grown := memory() - before; grown > 1<<20 {
		t.Errorf("the memory grew by %d bytes", grown)
	}
	if now := countDescriptors(t); now > descriptors {
		t.Errorf("%d descriptors, %d before", now, descriptors)
	}
	if open := r.server.Counts.Open.Load(); open != 0 {
		t.Errorf("%d counted as open", open)
	}
	r.stop()
}
