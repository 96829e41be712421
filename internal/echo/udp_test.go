package echo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/serve"
	"sonde/internal/sock"
	"sonde/internal/sock/socktest"
)

var (
	server  = netip.MustParseAddrPort("10.0.0.1:9999")
	server2 = netip.MustParseAddrPort("10.0.0.2:7777")
	client  = netip.MustParseAddrPort("192.0.2.7:40000")
)

// A world is a network in memory with echo servers on it, inside a synctest bubble.
type world struct {
	*testing.T
	network socktest.Network
	stops   []func()

	mu     sync.Mutex
	drops  map[Why]int
	totals Totals
}

func (w *world) dropped(d Drop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drops[d.Why] += d.Count
}

func (w *world) ended(t Totals) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals = t
}

// inWorld runs test with servers at the addresses, which have ended when it returns.
func inWorld(t *testing.T, s Server, test func(w *world), servers ...netip.AddrPort) *world {
	w := &world{drops: make(map[Why]int), network: socktest.Network{Delay: time.Millisecond}}
	synctest.Test(t, func(t *testing.T) {
		w.T = t
		s.Dropped, s.Totals = w.dropped, w.ended
		for _, addr := range servers {
			w.serve(s, addr)
		}
		test(w)
		time.Sleep(100 * time.Millisecond)
		for _, stop := range w.stops {
			stop()
		}
	})
	return w
}

func (w *world) serve(s Server, addr netip.AddrPort) {
	w.serveAll(s, w.listen(addr))
}

// serveAll runs one server on all conns.
func (w *world) serveAll(s Server, conns ...Conn) {
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error)
	go func() { ended <- s.ServeUDP(ctx, conns...) }()
	w.stops = append(w.stops, func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("the server at %v ended with %v", conns[0].LocalAddr(), err)
		}
		for _, c := range conns {
			_ = c.(*socktest.Conn).Close()
		}
	})
}

func (w *world) listen(addr netip.AddrPort) *socktest.Conn {
	w.Helper()
	c, err := w.network.Listen(addr)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// replies returns what has come to c after all datagrams under way have arrived.
func (w *world) replies(c *socktest.Conn) (all []sock.Datagram) {
	time.Sleep(10 * time.Millisecond)
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	for {
		ds := make([]sock.Datagram, 64)
		n, err := c.ReadBatch(ds)
		if err != nil {
			return all
		}
		all = append(all, ds[:n]...)
	}
}

func TestTwoServersAndOneForgedDatagramGoQuiet(t *testing.T) {
	loopback, loopback2 := netip.MustParseAddrPort("127.0.0.1:9999"), netip.MustParseAddrPort("127.0.0.2:9998")
	for _, pair := range [][2]netip.AddrPort{{server, server2}, {loopback, loopback2}} {
		var first, later int
		w := inWorld(t, Server{}, func(w *world) {
			w.network.Send(pair[0], pair[1], []byte("forged"))
			time.Sleep(500 * time.Millisecond)
			first = w.network.Carried()
			time.Sleep(time.Hour)
			later = w.network.Carried()
		}, pair[0], pair[1])
		if first != later || first > 2*returnsToMute+3 || first < returnsToMute {
			t.Errorf("%v: %d datagrams at first, %d after an hour", pair, first, later)
		}
		if w.drops[Looping] == 0 {
			t.Errorf("%v: nobody was told: %v", pair, w.drops)
		}
	}
}

func TestServerAndItselfGoQuietAtOnce(t *testing.T) {
	w := inWorld(t, Server{}, func(w *world) { w.network.Send(server, server, []byte("forged")) }, server)
	if w.network.Carried() != 1 || w.drops[OwnSource] != 1 {
		t.Errorf("%d datagrams, drops %v", w.network.Carried(), w.drops)
	}
}

func TestEchoesWhatComes(t *testing.T) {
	inWorld(t, Server{}, func(w *world) {
		c := w.listen(client)
		for _, s := range []string{"", "a", "bb\x00\xff"} {
			w.network.Send(client, server, []byte(s))
			got := w.replies(c)
			if len(got) != 1 || string(got[0].Data) != s || got[0].Peer != server {
				w.Errorf("echo of %q is %+v", s, got)
			}
		}
	}, server)
}

func TestRepliesLeaveFromTheAddressAsked(t *testing.T) {
	inWorld(t, Server{}, func(w *world) {
		c := w.listen(client)
		asked := netip.MustParseAddrPort("10.9.8.7:9999")
		w.network.Send(client, asked, []byte("x"))
		if got := w.replies(c); len(got) != 1 || got[0].Peer != asked {
			w.Errorf("got %+v", got)
		}
	}, netip.MustParseAddrPort("0.0.0.0:9999"))
}

// testGuard is the guard of a server that listens on server's port.
func testGuard(s Server) *guard {
	var ports portSet
	ports.add(server.Port())
	return newGuard(&s, &ports, newRates(s.RatePerNet))
}

func TestSourcesThatAreNotAnswered(t *testing.T) {
	for _, test := range []struct {
		from, to string
		why      Why
	}{
		{"192.0.2.7:1024", "10.0.0.1:9999", echoed},
		{"192.0.2.7:9999", "10.0.0.1:9999", echoed}, // another host's echo server: the mute is for that
		{"[2001:db8::7]:1024", "[2001:db8::1]:9999", echoed},
		{"[fe80::7%eth0]:1024", "[fe80::1%eth0]:9999", echoed},
		{"127.0.0.1:1024", "127.0.0.1:9999", echoed},
		{"[::1]:1024", "[::1]:9999", echoed},
		{"192.0.2.7:1023", "10.0.0.1:9999", LowPort},
		{"192.0.2.7:7", "10.0.0.1:9999", LowPort},
		{"192.0.2.7:0", "10.0.0.1:9999", BadSource},
		{"224.0.0.1:5000", "10.0.0.1:9999", BadSource},
		{"[ff02::1]:5000", "[fe80::1]:9999", BadSource},
		{"0.0.0.0:5000", "10.0.0.1:9999", BadSource},
		{"0.1.2.3:5000", "10.0.0.1:9999", BadSource},
		{"[::]:5000", "[::1]:9999", BadSource},
		{"255.255.255.255:5000", "10.0.0.1:9999", BadSource},
		{"255.1.2.3:5000", "10.0.0.1:9999", BadSource},
		{"127.0.0.1:5000", "10.0.0.1:9999", BadSource},
		{"[::1]:5000", "[2001:db8::1]:9999", BadSource},
		{"10.0.0.1:9999", "10.0.0.1:9999", OwnSource},
		{"10.0.0.1:9998", "10.0.0.1:9999", echoed}, // another program of this machine
		{"10.0.0.3:9999", "10.0.0.1:9999", OwnSource},
		{"127.0.0.2:9999", "127.0.0.1:9999", OwnSource},
		{"[::1]:9999", "[::1]:9999", OwnSource},
		{"192.0.2.7:5000", "255.255.255.255:9999", ToMany},
		{"192.0.2.7:5000", "224.0.0.1:9999", ToMany},
		{"[fe80::7]:5000", "[ff02::1]:9999", ToMany},
	} {
		to := netip.MustParseAddrPort(test.to)
		d := sock.Datagram{Peer: netip.MustParseAddrPort(test.from), Local: to, Data: []byte("x"),
			ToMany: to.Addr().IsMulticast() || to.Addr() == netip.MustParseAddr("255.255.255.255")}
		g := testGuard(Server{})
		g.own = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.3") }
		if why := g.judge(&d, time.Now()); why != test.why {
			t.Errorf("%s to %s: %v, want %v", test.from, test.to, why, test.why)
		}
		if g := testGuard(Server{AllowLowPorts: true}); test.why == LowPort && g.judge(&d, time.Now()) != echoed {
			t.Errorf("%s is not allowed though low ports are", test.from)
		}
	}
}

func TestOwnAddressesAreAsked(t *testing.T) {
	g := testGuard(Server{})
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	for _, a := range addrs {
		ours := netip.MustParsePrefix(a.String()).Addr()
		if !g.isOwn(ours, server.Addr(), time.Now()) {
			t.Errorf("%v is ours", ours)
		}
	}
	if g.isOwn(client.Addr(), server.Addr(), time.Now()) {
		t.Errorf("%v is not ours", client.Addr())
	}
}

func TestMuteNeedsTheSameBytesRunning(t *testing.T) {
	now := time.Now()
	g := testGuard(Server{})
	judge := func(data string) Why {
		return g.judge(&sock.Datagram{Peer: client, Local: server, Data: []byte(data)}, now)
	}
	for i := range 1000 {
		if why := judge(fmt.Sprint(i / returnsToMute)); why != echoed {
			t.Fatalf("datagram %d: %v, though what it returns changes", i, why)
		}
	}
	for i := range returnsToMute {
		if why := judge("same"); why != echoed {
			t.Fatalf("return %d: %v", i, why)
		}
	}
	for _, data := range []string{"same", "another"} {
		if why := judge(data); why != Looping {
			t.Errorf("%q after %d returns: %v", data, returnsToMute, why)
		}
	}
	now = now.Add(muteTime)
	if why := judge("same"); why != echoed {
		t.Errorf("after a second: %v", why)
	}
}

func TestRatePerNetwork(t *testing.T) {
	const rate = 100
	now := time.Now()
	g := testGuard(Server{RatePerNet: rate})
	n := 0
	send := func(from string, count int) (answered int) {
		for range count {
			n++
			d := sock.Datagram{Peer: netip.AddrPortFrom(netip.MustParseAddr(from), uint16(2000+n%60000)), Data: binary.AppendVarint(nil, int64(n))}
			if g.judge(&d, now) == echoed {
				answered++
			}
		}
		return answered
	}
	for _, step := range []struct {
		from        string
		count, want int
	}{
		{"192.0.2.1", 300, rate},
		{"192.0.2.200", 10, 0}, // the same /24
		{"192.0.3.1", 300, rate},
		{"2001:db8::1", 300, rate},
		{"2001:db8::ffff:1", 10, 0}, // the same /64
		{"2001:db8:0:1::1", 300, rate},
		{"127.0.0.1", 300, 300},
		{"::1", 300, 300},
	} {
		if got := send(step.from, step.count); got != step.want {
			t.Errorf("%d of %d from %s were answered, want %d", got, step.count, step.from, step.want)
		}
	}
	now = now.Add(500 * time.Millisecond)
	if got := send("192.0.2.1", 300); got != rate/2 {
		t.Errorf("half a second later %d were answered", got)
	}
	now = now.Add(time.Hour)
	if got := send("192.0.2.1", 300); got != rate {
		t.Errorf("an hour later %d were answered, one second's rate is the burst", got)
	}
}

// TestFloodOfForgedSources: tables stay bounded, and networks beyond them share one rate.
func TestFloodOfForgedSources(t *testing.T) {
	now := time.Now()
	g := testGuard(Server{RatePerNet: 10})
	answered := 0
	for i := range 4 * maxNets {
		from := netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}) // a /24 each
		if g.judge(&sock.Datagram{Peer: netip.AddrPortFrom(from, 5000), Data: []byte{1}}, now) == echoed {
			answered++
		}
	}
	if answered > maxNets+10 || answered < maxNets/2 {
		t.Errorf("%d of %d networks were answered", answered, 4*maxNets)
	}
	now = now.Add(2 * time.Second)
	from := netip.MustParseAddrPort("198.51.100.1:5000")
	for range 10 {
		if why := g.judge(&sock.Datagram{Peer: from, Data: []byte{1}}, now); why != echoed {
			t.Errorf("after the flood: %v", why)
		}
	}
}

func TestDropsAreToldOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network socktest.Network
		c, err := network.Listen(server)
		if err != nil {
			t.Fatal(err)
		}
		drops := make(chan Drop, 20)
		s := Server{Dropped: func(d Drop) { drops <- d }}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.ServeUDP(ctx, c) }()
		low := netip.MustParseAddrPort("192.0.2.7:7")
		for range 10 {
			network.Send(low, server, nil)
			synctest.Wait()
		}
		if told := <-drops; len(drops) != 0 || told != (Drop{Why: LowPort, Count: 1, Peer: low}) {
			t.Errorf("told at once: %+v and %d more", told, len(drops))
		}
		time.Sleep(serve.NoticeInterval + time.Second) // nothing comes, and still the rest is told
		synctest.Wait()
		if told := <-drops; len(drops) != 0 || told.Count != 9 {
			t.Errorf("told after the interval: %+v and %d more", told, len(drops))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// bad is a socket whose every other call fails, and that truncates.
type bad struct {
	*socktest.Conn
	calls int
}

func (b *bad) ReadBatch(ds []sock.Datagram) (int, error) {
	if b.calls++; b.calls%2 == 0 {
		return 0, errors.New("ICMP says something")
	}
	n, err := b.Conn.ReadBatch(ds)
	for i := range ds[:n] {
		ds[i].Truncated = bytes.HasSuffix(ds[i].Data, []byte("cut"))
	}
	return n, err
}

func (b *bad) WriteBatch(ds []sock.Datagram) (int, error) {
	if string(ds[0].Data) == "unsendable" {
		return 0, errors.New("no route to host")
	}
	return b.Conn.WriteBatch(ds)
}

func TestNoErrorEndsTheLoopAndTruncatedIsNotEchoed(t *testing.T) {
	w := inWorld(t, Server{}, func(w *world) {
		b := &bad{Conn: w.listen(server)}
		ctx, cancel := context.WithCancel(w.Context())
		ended := make(chan error)
		s := Server{Dropped: w.dropped, Totals: w.ended}
		go func() { ended <- s.ServeUDP(ctx, b) }()
		c := w.listen(client)
		var got []sock.Datagram
		for _, s := range []string{"whole", "is cut", "unsendable", "whole"} {
			w.network.Send(client, server, []byte(s))
			time.Sleep(2 * time.Second)
			got = append(got, w.replies(c)...)
		}
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
		if len(got) != 2 || string(got[0].Data)+string(got[1].Data) != "wholewhole" {
			w.Errorf("echoed %+v", got)
		}
	})
	if w.drops[Truncated] != 1 || w.drops[Unsent] != 1 || w.drops[Unread] < 3 || w.totals != (Totals{Local: server, In: 4, Out: 2}) {
		t.Errorf("drops %v, totals %+v", w.drops, w.totals)
	}
}

func TestEveryReasonHasWords(t *testing.T) {
	for why := range reasons {
		if why.String() == "" || why.Word() == "" {
			t.Errorf("reason %d has no words", why)
		}
	}
}

// serveUDP runs s on a real socket until the test ends.
func serveUDP(t testing.TB, s *Server, bind string) netip.AddrPort {
	t.Helper()
	u, err := sock.ListenUDP(netip.MustParseAddrPort(bind))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.ServeUDP(ctx, u) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = u.Close()
	})
	return u.LocalAddr()
}

func dialUDP(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func TestRealSockets(t *testing.T) {
	binds := []string{"127.0.0.1:0", "[::1]:0"}
	if runtime.GOOS == "linux" {
		binds = append(binds, "0.0.0.0:0")
	}
	for _, bind := range binds {
		t.Run(bind, func(t *testing.T) {
			addr := serveUDP(t, &Server{}, bind)
			if addr.Addr().IsUnspecified() {
				addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), addr.Port())
			}
			gone := dialUDP(t, addr) // the echo meets a closed port: an ICMP error for the server
			_, _ = gone.Write([]byte("x"))
			_ = gone.Close()
			c := dialUDP(t, addr)
			buf := make([]byte, sock.MaxDatagram)
			for _, size := range []int{0, 1, 1472, 9000, 65507} {
				want := pattern(size)
				if _, err := c.Write(want); err != nil {
					t.Fatal(err)
				}
				n, err := c.Read(buf)
				if err != nil || !bytes.Equal(buf[:n], want) {
					t.Errorf("%d bytes: %d came back, %v", size, n, err)
				}
			}
		})
	}
}

func TestSocketClosedByOthersIsAnError(t *testing.T) {
	u, err := sock.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- new(Server).ServeUDP(t.Context(), u) }()
	_ = u.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// BenchmarkUDP measures round trips with a window of 32 datagrams under way.
func BenchmarkUDP(b *testing.B) {
	c := dialUDP(b, serveUDP(b, &Server{}, "127.0.0.1:0"))
	const window = 32
	buf := make([]byte, 64)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	sent := 0
	send := func() {
		if sent < b.N {
			binary.LittleEndian.PutUint64(buf, uint64(sent)) // no two alike: the guard mutes those
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
			sent++
		}
	}
	for range window {
		send()
	}
	for range b.N {
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		send()
	}
}

func BenchmarkGuard(b *testing.B) {
	g := testGuard(Server{RatePerNet: 1 << 30})
	data := make([]byte, 64)
	now := time.Now()
	b.ReportAllocs()
	for i := range b.N {
		binary.LittleEndian.PutUint64(data, uint64(i))
		g.judge(&sock.Datagram{Peer: client, Local: server, Data: data}, now)
	}
}
