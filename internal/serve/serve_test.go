package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sonde/internal/sock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is the handler of these tests.
func echo(c *Conn) error {
	for {
		data, err := c.Next()
		if err != nil {
			return err
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
	}
}

// eachWay runs a test of echoing for both ways of serving: by goroutines, and, without a handler, by event loops where there are any.
func eachWay(t *testing.T, test func(*testing.T, func(*Conn) error)) {
	t.Run("goroutines", func(t *testing.T) { test(t, echo) })
	t.Run("loops", func(t *testing.T) { test(t, nil) })
}

func same(data []byte) []byte { return data }

// A trial is a server that runs, and what it told.
type trial struct {
	t      *testing.T
	server Server
	cancel context.CancelCauseFunc
	served chan error

	mu     sync.Mutex
	told   []Event
	change chan struct{} // closed and renewed with each event
}

func start(t *testing.T, limits Limits, handle func(*Conn) error, listeners ...net.Listener) *trial {
	t.Helper()
	return startServer(t, Server{Limits: limits, Handle: handle, Answer: same}, listeners...)
}

func startServer(t *testing.T, s Server, listeners ...net.Listener) *trial {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &trial{t: t, server: s, cancel: cancel, served: make(chan error, 1), change: make(chan struct{})}
	r.server.Event, r.server.Counts = r.tell, new(Counts)
	go func() { r.served <- r.server.Serve(ctx, listeners...) }()
	return r
}

func (r *trial) tell(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, e)
	close(r.change)
	r.change = make(chan struct{})
}

func (r *trial) events(kind Kind) (es []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.told {
		if e.Kind == kind {
			es = append(es, e)
		}
	}
	return es
}

// await waits for n events of a kind.
func (r *trial) await(kind Kind, n int) []Event {
	r.t.Helper()
	timeout := time.After(time.Hour) // of the test's clock
	for {
		r.mu.Lock()
		change := r.change
		r.mu.Unlock()
		if es := r.events(kind); len(es) >= n {
			return es
		}
		select {
		case <-change:
		case <-timeout:
			r.t.Fatalf("waited in vain for %d events of kind %d: %+v", n, kind, r.told)
		}
	}
}

// stop ends the server with its grace and returns how its connections ended.
func (r *trial) stop() []Event {
	r.t.Helper()
	r.cancel(nil)
	if err := <-r.served; err != nil {
		r.t.Error(err)
	}
	return r.events(Ended)
}

func loopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t testing.TB, l net.Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

func exchange(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("echo of %q is %q, %v", text, got, err)
	}
}

// pipes is a listener of in-memory connections, for tests that own the clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestConversationIsToldWithPeerBytesAndEnding(t *testing.T) {
	eachWay(t, conversationIsToldWithPeerBytesAndEnding)
}

func conversationIsToldWithPeerBytesAndEnding(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{}, handle, l)
	c := dial(t, l)
	exchange(t, c, "hello")
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Errorf("after our FIN came %q, %v; the server's FIN was due", rest, err)
	}
	e := r.await(Ended, 1)[0]
	if e.Peer != addrPort(c.LocalAddr()) || e.Local != addrPort(l.Addr()) ||
		e.In != 5 || e.Out != 5 || e.Ending != sock.ByPeer || e.Err != nil || e.Cut {
		t.Errorf("told %+v", e)
	}
	if opened := r.events(Opened); len(opened) != 1 || opened[0].Peer != e.Peer {
		t.Errorf("opened: %+v", opened)
	}
	r.stop()
}

func TestMappedAddressesAreUnmapped(t *testing.T) { eachWay(t, mappedAddressesAreUnmapped) }

func mappedAddressesAreUnmapped(t *testing.T, handle func(*Conn) error) {
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Skip(err)
	}
	r := start(t, Limits{}, handle, l)
	c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", l.Addr().String()[len("[::]:"):]))
	if err != nil {
		t.Skip(err)
	}
	_ = c.Close()
	if e := r.await(Ended, 1)[0]; !e.Peer.Addr().Is4() || !e.Local.Addr().Is4() {
		t.Errorf("peer %v, local %v", e.Peer, e.Local)
	}
	r.stop()
}

func TestResetOfOneDoesNotTouchAnother(t *testing.T) { eachWay(t, resetOfOneDoesNotTouchAnother) }

func resetOfOneDoesNotTouchAnother(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{}, handle, l)
	other := dial(t, l)
	exchange(t, other, "before")
	for range 20 {
		c := dial(t, l)
		exchange(t, c, "x")
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	for _, e := range r.await(Ended, 20) {
		if e.Ending != sock.Reset {
			t.Errorf("a reset was told as %v (%v)", e.Ending, e.Err)
		}
	}
	exchange(t, other, "after")
	_ = other.Close()
	r.await(Ended, 21)
	r.stop()
}

func TestMaxConnsRefusesAndTellsOnce(t *testing.T) { eachWay(t, maxConnsRefusesAndTellsOnce) }

func maxConnsRefusesAndTellsOnce(t *testing.T, handle func(*Conn) error) {
	first, second := loopback(t), loopback(t)
	r := start(t, Limits{MaxConns: 2}, handle, first, second)
	a, b := dial(t, first), dial(t, second)
	exchange(t, a, "a")
	exchange(t, b, "b")
	for range 5 {
		c := dial(t, first)
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Fatal("a third client was served")
		}
	}
	if refused := r.await(Refused, 1); len(refused) != 1 || refused[0].Count != 1 || !refused[0].Peer.IsValid() {
		t.Errorf("told %+v before the interval is over", refused)
	}
	_ = a.Close()
	r.await(Ended, 1)
	exchange(t, dial(t, second), "room again")
	r.cancel(ErrNow)
	if err := <-r.served; err != nil {
		t.Error(err)
	}
	if refused := r.events(Refused); len(refused) != 2 || refused[1].Count != 4 {
		t.Errorf("told in the end: %+v", refused)
	}
}

func TestNoticesComeOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		r := start(t, Limits{MaxConns: 1}, echo, l)
		inside := l.dial()
		for range 100 {
			time.Sleep(NoticeInterval / 10)
			_ = l.dial().Close()
		}
		time.Sleep(NoticeInterval)
		_ = inside.Close()
		r.stop()
		refused, sum := r.events(Refused), 0
		for i, e := range refused {
			sum += e.Count
			if i > 0 && e.Time.Sub(refused[i-1].Time) < NoticeInterval {
				t.Errorf("notice %d came after %v", i, e.Time.Sub(refused[i-1].Time))
			}
		}
		if sum != 100 || len(refused) > 12 {
			t.Errorf("%d refusals in %d notices", sum, len(refused))
		}
	})
}

func TestAcceptTroubleIsToldAndSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		r := start(t, Limits{}, echo, &flaky{pipes: l, left: 5})
		c := l.dial()
		exchange(t, c, "still here")
		_ = c.Close()
		r.stop()
		sum := 0
		for _, e := range r.events(Trouble) {
			sum += e.Count
			if e.Err == nil {
				t.Error("trouble without an error")
			}
		}
		if sum != 5 {
			t.Errorf("%d troubles told", sum)
		}
	})
}

type flaky struct {
	*pipes
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, errors.New("flaky")
	}
	return f.pipes.Accept()
}

func TestIdleTimeout(t *testing.T) {
	const idle = time.Minute
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		r := start(t, Limits{IdleTimeout: idle}, echo, l)
		began := time.Now()
		silent, deaf, slow := l.dial(), l.dial(), l.dial()

		go func() { _, _ = deaf.Write(make([]byte, 100)) }() // and never reads
		go func() {
			_, _ = slow.Write(make([]byte, 10))
			for range 10 { // one byte each 40 s: slow, not idle
				time.Sleep(40 * time.Second)
				_, _ = io.ReadFull(slow, make([]byte, 1))
			}
			time.Sleep(time.Second)
			_ = slow.Close()
		}()
		ended := r.await(Ended, 3)
		for _, e := range ended[:2] {
			var idleErr *IdleError
			if e.Ending != sock.TimedOut || !errors.As(e.Err, &idleErr) || e.Time.Sub(began) > idle+lingerTime {
				t.Errorf("idle: %+v", e)
			}
		}
		if !strings.Contains(ended[0].Err.Error()+ended[1].Err.Error(), "read nothing") {
			t.Errorf("none is said not to read: %v, %v", ended[0].Err, ended[1].Err)
		}
		if e := ended[2]; e.Ending != sock.ByPeer || e.Out != 10 || e.Time.Sub(began) < 6*idle {
			t.Errorf("slow: %+v", e)
		}
		_, _ = silent.Close(), deaf.Close()
		r.stop()
	})
}

func TestIdleConnectionIsHalfClosed(t *testing.T) { eachWay(t, idleConnectionIsHalfClosed) }

func idleConnectionIsHalfClosed(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{IdleTimeout: 20 * time.Millisecond}, handle, l)
	c := dial(t, l)
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("an idle client sees %v, a FIN was due", err)
	}
	_ = c.Close()
	r.await(Ended, 1)
	r.stop()
}

func TestQuietConnectionIsHalfClosedAndDrained(t *testing.T) {
	eachWay(t, quietConnectionIsHalfClosedAndDrained)
}

func quietConnectionIsHalfClosedAndDrained(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{Grace: 20 * time.Second}, handle, l)
	c := dial(t, l)
	exchange(t, c, "hello")
	r.cancel(nil)
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("a quiet client sees %v, a FIN was due", err)
	}
	if _, err := c.Write([]byte("too late")); err != nil {
		t.Errorf("a client that still writes is drained, not %v", err)
	}
	_ = c.Close()
	ended := r.stop()
	if len(ended) != 1 || ended[0].Ending != sock.ByUs || ended[0].Cut || ended[0].In != uint64(len("hellotoo late")) {
		t.Errorf("told %+v", ended)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

// TestBusyConnectionGoesOnUntilTheGraceEnds has four clients: one that says what it wanted
// within the grace, one that never ends, one that does not read, and one that is quiet.
func TestBusyConnectionGoesOnUntilTheGraceEnds(t *testing.T) {
	const grace = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		r := start(t, Limits{Grace: grace}, echo, l)
		short, endless, deaf, quiet := l.dial(), l.dial(), l.dial(), l.dial()
		var group sync.WaitGroup
		talk := func(c net.Conn, times int) {
			for range times {
				time.Sleep(100 * time.Millisecond)
				if _, err := c.Write([]byte("x")); err != nil {
					break
				}
				if _, err := c.Read(make([]byte, 1)); err != nil {
					break
				}
			}
			time.Sleep(100 * time.Millisecond)
			_ = c.Close()
		}
		group.Go(func() { talk(short, 50) })
		group.Go(func() { talk(endless, 1000) })
		_, _ = deaf.Write([]byte("x"))
		synctest.Wait()
		stopped := time.Now()
		ended := r.stop()
		group.Wait()
		cut := 0
		for _, e := range ended {
			if e.Cut {
				cut++
				if e.Time.Sub(stopped) != grace || e.Ending != sock.ByUs {
					t.Errorf("cut after %v: %+v", e.Time.Sub(stopped), e)
				}
			}
		}
		if len(ended) != 4 || cut != 2 {
			t.Errorf("%d of %d cut: %+v", cut, len(ended), ended)
		}
		_, _ = deaf.Close(), quiet.Close()
		if e := ended[0]; e.Cut || e.Ending != sock.ByUs || e.Time.Sub(stopped) > time.Second {
			t.Errorf("the quiet one: %+v", e)
		}
		if e := ended[1]; e.Out != 50 || e.Ending != sock.ByPeer {
			t.Errorf("the short one: %+v", e)
		}
	})
}

func TestWhatAQuietConnectionStillSentIsToldAsCut(t *testing.T) {
	eachWay(t, whatAQuietConnectionStillSentIsToldAsCut)
}

func whatAQuietConnectionStillSentIsToldAsCut(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{Grace: 1500 * time.Millisecond}, handle, l)
	c := dial(t, l)
	exchange(t, c, "hello")
	r.cancel(nil)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("nobody answers this")); err != nil {
		t.Fatal(err)
	}
	if ended := r.stop(); len(ended) != 1 || !ended[0].Cut || ended[0].Ending != sock.ByUs {
		t.Errorf("told %+v", ended)
	}
}

func TestClientThatDoesNotReadIsReset(t *testing.T) { eachWay(t, clientThatDoesNotReadIsReset) }

func clientThatDoesNotReadIsReset(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{IdleTimeout: 1500 * time.Millisecond}, handle, l)
	c := dial(t, l)
	data := make([]byte, 1<<20)
	for {
		if _, err := c.Write(data); err != nil {
			if sock.EndingOf(err) != sock.Reset {
				t.Errorf("the client sees %v", err)
			}
			break
		}
	}
	var idle *IdleError
	if e := r.await(Ended, 1)[0]; e.Ending != sock.TimedOut || !errors.As(e.Err, &idle) || !idle.Write {
		t.Errorf("told %+v", e)
	}
	r.stop()
}

func TestNowGivesNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		r := start(t, Limits{Grace: time.Hour}, echo, l)
		c := l.dial()
		synctest.Wait()
		began := time.Now()
		r.cancel(ErrNow)
		if err := <-r.served; err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = c.Close()
	})
}

func TestOnceServesOneConnection(t *testing.T) { eachWay(t, onceServesOneConnection) }

func onceServesOneConnection(t *testing.T, handle func(*Conn) error) {
	first, second := loopback(t), loopback(t)
	r := start(t, Limits{Once: true}, handle, first, second)
	c := dial(t, second)
	exchange(t, c, "once")
	for _, l := range []net.Listener{first, second} {
		if extra, err := net.Dial("tcp", l.Addr().String()); err == nil {
			_ = extra.Close()
			t.Error("a listener is open during the one connection")
		}
	}
	exchange(t, c, "more")
	_ = c.Close()
	if err := <-r.served; err != nil || len(r.events(Ended)) != 1 {
		t.Errorf("%v, %+v", err, r.events(Ended))
	}
}

func TestListenerClosedByOthersIsAnError(t *testing.T) {
	l := loopback(t)
	r := start(t, Limits{Grace: time.Minute}, echo, l)
	exchange(t, dial(t, l), "x")
	_ = l.Close()
	if err := <-r.served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestHandlerThatEndsIsHalfClosed(t *testing.T) {
	l := loopback(t)
	reply := bytes.Repeat([]byte("reply"), 1000)
	r := start(t, Limits{}, func(c *Conn) error {
		if _, err := c.Next(); err != nil {
			return err
		}
		_, err := c.Write(reply)
		return err
	}, l)
	c := dial(t, l)
	if _, err := c.Write(make([]byte, 100_000)); err != nil { // more than the handler reads
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, reply) {
		t.Errorf("%d bytes of the reply, %v: unread input destroyed it", len(got), err)
	}
	_ = c.Close()
	if e := r.await(Ended, 1)[0]; e.Ending != sock.ByUs || e.Cut || e.In != 100_000 {
		t.Errorf("told %+v", e)
	}
	r.stop()
}

func TestThousandConnections(t *testing.T) { eachWay(t, thousandConnections) }

func thousandConnections(t *testing.T, handle func(*Conn) error) {
	n := 1000
	if underRace {
		n = 100
	}
	l := loopback(t)
	r := start(t, Limits{Grace: time.Second}, handle, l)
	var group sync.WaitGroup
	for range n {
		c := dial(t, l)
		group.Go(func() {
			exchange(t, c, "one of many")
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		})
	}
	group.Wait()
	ended := r.await(Ended, n)
	r.stop()
	peers := make(map[string]bool)
	for _, e := range ended {
		peers[e.Peer.String()] = true
		if e.Ending != sock.ByPeer || e.In != e.Out || e.In != 11 {
			t.Errorf("told %+v", e)
		}
	}
	if len(ended) != n || len(peers) != n {
		t.Errorf("%d ended, %d peers", len(ended), len(peers))
	}
}

// TestIdleConnectionIsSmall holds the measure: 5 KB of user memory for an idle connection, on an event loop 2 KB.
func TestIdleConnectionIsSmall(t *testing.T) { eachWay(t, idleConnectionIsSmall) }

func idleConnectionIsSmall(t *testing.T, handle func(*Conn) error) {
	if underRace || runtime.GOOS == "windows" {
		t.Skip("memory is another under the race detector and where buffers wait")
	}
	n, most := 2000, 5<<10
	if handle == nil && runtime.GOOS == "linux" {
		most = 2 << 10
	}
	l := loopback(t)
	var clients []*net.TCPConn
	connect := func() { // before the server starts, so that only its own part is measured
		for range n {
			clients = append(clients, dial(t, l))
		}
	}
	connect()
	before := memory()
	r := start(t, Limits{IdleTimeout: time.Hour}, handle, l)
	r.await(Opened, n)
	for _, c := range clients {
		exchange(t, c, "not idle from the start")
	}
	each := (memory() - before) / n
	t.Logf("%d bytes for each connection", each)
	if each > most {
		t.Errorf("an idle connection holds %d bytes, at most %d are allowed", each, most)
	}
	for _, c := range clients {
		_ = c.Close()
	}
	r.await(Ended, n)
	r.stop()
}

func memory() int {
	for range 3 { // a pool gives up its buffers at the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

func TestTally(t *testing.T) {
	var tally Tally
	now := time.Now()
	told := []int{tally.Add(now, 1), tally.Add(now, 2), tally.Due(now.Add(NoticeInterval - 1))}
	wake := tally.Wake()
	told = append(told, tally.Due(wake), tally.Due(wake), tally.Add(wake.Add(time.Hour), 4), tally.Add(wake.Add(time.Hour), 5), tally.Rest())
	if want := []int{1, 0, 0, 2, 0, 4, 0, 5}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if wake != now.Add(NoticeInterval) || !tally.Wake().IsZero() {
		t.Errorf("wakes at %v, then %v", wake, tally.Wake())
	}
}
