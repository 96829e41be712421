package echo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go4.org/netipx"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// serveSockets runs s on n real sockets until the test ends.
func serveSockets(t testing.TB, s *Server, bind string, n int) (us []*sock.UDP) {
	t.Helper()
	var conns []Conn
	for range n {
		u, err := sock.ListenUDP(netip.MustParseAddrPort(bind))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.Close() })
		us, conns = append(us, u), append(conns, u)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.ServeUDP(ctx, conns...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return us
}

// echoesOf sends one datagram and checks the answer.
func echoesOf(t *testing.T, c net.Conn, data []byte) {
	t.Helper()
	buf := make([]byte, sock.MaxDatagram)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], data) {
		t.Fatalf("%d bytes came back of %d, %v", n, len(data), err)
	}
}

// TestEachClientGetsItsOwnBytes: nothing is mixed up among clients, sockets and sizes.
func TestEachClientGetsItsOwnBytes(t *testing.T) {
	const clients, each, window = 12, 60, 3
	for _, sockets := range []int{1, fewSockets + 3} {
		us := serveSockets(t, &Server{}, "127.0.0.1:0", sockets)
		var wg sync.WaitGroup
		for id := range clients {
			wg.Go(func() {
				c := dialUDP(t, us[id%sockets].LocalAddr())
				_ = c.SetReadBuffer(4 << 20)
				if err := ownBytes(c, uint64(id), each, window); err != nil {
					t.Errorf("client %d of server %d: %v", id, id%sockets, err)
				}
			})
		}
		wg.Wait()
	}
}

// ownBytes sends datagrams of all sizes with a window of them on their way, and checks each that comes back.
func ownBytes(c net.Conn, id uint64, count, window int) error {
	random := rand.New(rand.NewPCG(id, 5))
	var under [][]byte
	buf := make([]byte, sock.MaxDatagram)
	for i := range count {
		size := []int{0, 9, 64, 64, 64, 1200, random.IntN(9000), random.IntN(65507 + 1)}[random.IntN(8)]
		data := make([]byte, size)
		for k := 0; k+8 <= size; k += 8 {
			binary.LittleEndian.PutUint64(data[k:], id<<48|uint64(i)<<32|uint64(k))
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
		if under = append(under, data); len(under) < window && i < count-1 {
			continue
		}
		for len(under) > 0 { // in any order: a peer's first may come before the server's sockets are all there to share peers out
			n, err := c.Read(buf)
			if err != nil {
				return err
			}
			which := slices.IndexFunc(under, func(sent []byte) bool { return bytes.Equal(sent, buf[:n]) })
			if which < 0 {
				return fmt.Errorf("%d bytes came back that are none of the %d datagrams under way: %.40x", n, len(under), buf[:n])
			}
			under = slices.Delete(under, which, which+1)
		}
	}
	return nil
}

// TestRealServersGoQuiet: one forged datagram sets two servers on each other, of two processes or of one.
func TestRealServersGoQuiet(t *testing.T) {
	var counts [2]UDPCounts
	looping := make(chan struct{}, 10)
	told := func(d Drop) {
		if d.Why == Looping {
			looping <- struct{}{}
		}
	}
	a := serveSockets(t, &Server{UDPCounts: &counts[0], Dropped: told}, "127.0.0.1:0", 1)[0]
	b := serveSockets(t, &Server{UDPCounts: &counts[1], Dropped: told}, "127.0.0.1:0", 1)[0]
	// What b's socket sends that b was not asked for is as good as forged.
	if _, err := b.WriteBatch([]sock.Datagram{{Peer: a.LocalAddr(), Data: []byte("forged")}}); err != nil {
		t.Fatal(err)
	}
	<-looping // who has dropped it does not answer it
	if in := counts[0].In.Load() + counts[1].In.Load(); in > 2*returnsToMute+3 || in < returnsToMute {
		t.Errorf("%d datagrams before they were quiet", in)
	}
	echoesOf(t, dialUDP(t, a.LocalAddr()), []byte("others are answered"))
}

func TestTwoPortsOfOneServerGoQuietAtOnce(t *testing.T) {
	var counts UDPCounts
	own := make(chan Drop, 1)
	us := serveSockets(t, &Server{UDPCounts: &counts, Dropped: func(d Drop) { own <- d }}, "127.0.0.1:0", fewSockets+2)
	if _, err := us[3].WriteBatch([]sock.Datagram{{Peer: us[4].LocalAddr(), Data: []byte("forged")}}); err != nil {
		t.Fatal(err)
	}
	if d := <-own; d.Why != OwnSource || d.Peer != us[3].LocalAddr() || counts.In.Load() != 1 || counts.Out.Load() != 0 {
		t.Errorf("%+v; %d in, %d out", d, counts.In.Load(), counts.Out.Load())
	}
}

// TestKernelDropsAreCountedAndTold: what came to a full queue is neither silence nor an echo.
func TestKernelDropsAreCountedAndTold(t *testing.T) {
	if !sock.Gathers {
		t.Skip("this system does not count them")
	}
	u, err := sock.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	var counts UDPCounts
	var told []Drop
	p := newPost(&Server{UDPCounts: &counts, Dropped: func(d Drop) { told = append(told, d) }}, nil)
	l := p.newLoop()
	l.add(u, 0)
	c := dialUDP(t, u.LocalAddr())
	for range 3000 {
		_, _ = c.Write(make([]byte, 1000))
	}
	ds := make([]sock.Datagram, 8)
	n, err := u.ReadBatch(ds)
	if err != nil {
		t.Fatal(err)
	}
	wake := l.handle(0, ds[:n])
	if until := time.Until(wake); until <= 0 || until > lookEvery || len(told) > 0 {
		t.Errorf("it will look in %v; told %v", until, told)
	}
	l.next = time.Now()
	if wake := l.handle(serve.NoPlace, nil); !wake.IsZero() {
		t.Errorf("an idle server wakes at %v", wake)
	}
	drops, err := u.Drops()
	if err != nil || drops == 0 || counts.KernelDrops.Load() != uint64(drops) ||
		len(told) != 1 || told[0].Why != Overrun || told[0].Count != int(drops) {
		t.Errorf("%d drops, %v; counted %d, told %+v", drops, err, counts.KernelDrops.Load(), told)
	}
	p.notices.end()
}

func TestAccessAndCounts(t *testing.T) {
	var deny netipx.IPSetBuilder
	deny.Add(netip.MustParseAddr("127.0.0.1"))
	set, err := deny.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	var counts UDPCounts
	drops := make(chan Drop, 1)
	s := &Server{UDPCounts: &counts, Dropped: func(d Drop) { drops <- d }}
	s.Access.Deny = set
	u := serveSockets(t, s, "127.0.0.1:0", 1)[0]
	c := dialUDP(t, u.LocalAddr())
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if d := <-drops; d.Why != Denied || d.Peer.String() != c.LocalAddr().String() {
		t.Errorf("told %+v", d)
	}
	if runtime.GOOS == "linux" {
		other, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}, net.UDPAddrFromAddrPort(u.LocalAddr()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		echoesOf(t, other, []byte("allowed"))
	}
	dropped := map[Why]uint64{}
	for why, n := range counts.EachDropped() {
		dropped[why] = n
	}
	if dropped[Denied] != 1 || len(dropped) != int(reasons)-1 || counts.In.Load() < 1 {
		t.Errorf("dropped %v, %d in", dropped, counts.In.Load())
	}
}

// TestTotalsAreEachSocketsOwn, siblings counted with the socket that was asked for.
func TestTotalsAreEachSocketsOwn(t *testing.T) {
	var us []*sock.UDP
	var conns []Conn
	for range 3 {
		u, err := sock.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = u.Close() }()
		us, conns = append(us, u), append(conns, u)
	}
	var totals []Totals
	s := Server{Totals: func(t Totals) { totals = append(totals, t) }}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- s.ServeUDP(ctx, conns...) }()
	for i, n := range []int{5, 0, 20} {
		for range n {
			echoesOf(t, dialUDP(t, us[i].LocalAddr()), []byte("x"))
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	want := []Totals{{us[0].LocalAddr(), 5, 5}, {us[2].LocalAddr(), 20, 20}}
	if len(totals) != 2 || totals[0] != want[0] || totals[1] != want[1] {
		t.Errorf("%+v, want %+v", totals, want)
	}
}

// TestGuardIsFlat: judging costs no allocation, and what speaks on is not forgotten for a flood of forged sources.
func TestGuardIsFlat(t *testing.T) {
	g := testGuard(Server{RatePerNet: 1 << 30})
	now := time.Now()
	d := sock.Datagram{Peer: client, Local: server, Data: make([]byte, 64)}
	g.judge(&d, now)
	if allocs := testing.AllocsPerRun(100, func() { d.Data[0]++; g.judge(&d, now) }); allocs != 0 {
		t.Errorf("%v allocations a datagram", allocs)
	}
	home := netip.MustParseAddrPort("127.0.0.1:9999")
	forged := sock.Datagram{Local: home, Data: []byte("x")}
	looped := sock.Datagram{Peer: netip.MustParseAddrPort("127.0.0.1:5000"), Local: home, Data: []byte("same")}
	for i := range 2 * returnsToMute {
		now = now.Add(time.Microsecond)
		if why := g.judge(&looped, now); why == Looping {
			if i != returnsToMute {
				t.Errorf("muted after %d", i)
			}
			return
		}
		for range 2 * maxPeers / returnsToMute {
			h := maphash.Comparable(g.peers.seed, now.Add(time.Duration(i)))
			forged.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(h), byte(h >> 8), byte(h >> 16)}), uint16(h>>24)|1024)
			now = now.Add(time.Nanosecond)
			g.judge(&forged, now)
		}
	}
	t.Error("a flood kept a loop alive")
}

// TestRateIsSharedByLoops: a network is not answered more for having many sockets to ask.
func TestRateIsSharedByLoops(t *testing.T) {
	rates := newRates(100)
	var ports portSet
	now := time.Now()
	var answered atomic.Int32
	var wg sync.WaitGroup
	for loop := range 4 {
		g := newGuard(&Server{}, &ports, rates)
		wg.Go(func() {
			for i := range 1000 {
				d := sock.Datagram{Peer: netip.AddrPortFrom(client.Addr(), uint16(2000+i)), Data: []byte{byte(loop)}}
				if g.judge(&d, now) == echoed {
					answered.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := answered.Load(); n != 100 {
		t.Errorf("%d were answered", n)
	}
}
