package sock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const loopback = "127.0.0.1:0"

// TestDatagramsCostNoAllocation, neither those that come and leave one by one nor those that do together.
func TestDatagramsCostNoAllocation(t *testing.T) {
	for _, addr := range []string{loopback, "[::1]:0", "0.0.0.0:0"} {
		u := newUDP(t, addr, MaxDatagram)
		to := u.LocalAddr()
		if to.Addr().IsUnspecified() {
			to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
		}
		in, out := make([]Datagram, MaxBatch), make([]Datagram, MaxBatch)
		data := make([]byte, MaxBatch)
		for i := range out {
			out[i] = Datagram{Peer: to, Local: to, Data: data[:1+i/2]}
		}
		// What is pooled is made again after a garbage collection, and at random under the race detector: the most frequent count is what matters.
		var free int
		for range 20 {
			allocs := testing.AllocsPerRun(1, func() {
				if n, err := u.WriteBatch(out); n != len(out) || err != nil {
					t.Fatal(n, err)
				}
				for n := 0; n < len(out); {
					k, err := u.ReadBatch(in)
					if err != nil {
						t.Fatal(err)
					}
					n += k
				}
			})
			if allocs == 0 {
				free++
			}
		}
		if free < 5 {
			t.Errorf("%s: a batch is free of allocations %d of 20 times", addr, free)
		}
	}
}

// TestTogetherAndApart: whatever is sent to whom in a batch, each gets what is its own, in order and byte for byte, whether it
// takes together what came together or the kernel cuts it.
func TestTogetherAndApart(t *testing.T) {
	from := newUDP(t, loopback, MaxDatagram)
	whole, small := newUDP(t, loopback, MaxDatagram), newUDP(t, loopback, 2000)
	receivers := []*UDP{whole, small}
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.SampledFrom([]int{0, 1, 2, 64, 65, maxSegment, maxSegment + 1, 1999})
		wants := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, 1).Draw(t, "to"), size.Draw(t, "size")}
		}), 1, 100).Draw(rt, "datagrams")
		var ds []Datagram
		var want [2][][]byte
		for i, w := range wants {
			data := make([]byte, w[1])
			rand.NewChaCha8([32]byte{byte(i), byte(w[0])}).Read(data)
			want[w[0]] = append(want[w[0]], data)
			ds = append(ds, Datagram{Peer: receivers[w[0]].LocalAddr(), Data: data})
		}
		if n, err := from.WriteBatch(ds); n != len(ds) || err != nil {
			rt.Fatal(n, err)
		}
		for i, u := range receivers {
			for k, d := range receiveUDP(t, u, len(want[i])) {
				if !bytes.Equal(d.Data, want[i][k]) || d.Peer != from.LocalAddr() || d.Local != u.LocalAddr() || d.Truncated {
					rt.Fatalf("receiver %d, datagram %d: %d bytes, want %d; %+v", i, k, len(d.Data), len(want[i][k]), d)
				}
			}
		}
	})
}

// TestWhatCameTogetherIsCut: a small ReadBatch gets the rest with the next.
func TestWhatCameTogetherIsCut(t *testing.T) {
	from, u := newUDP(t, loopback, MaxDatagram), newUDP(t, loopback, MaxDatagram)
	var ds []Datagram
	for i := range 40 {
		ds = append(ds, Datagram{Peer: u.LocalAddr(), Data: fmt.Appendf(nil, "%03d", i)})
	}
	ds = append(ds, Datagram{Peer: u.LocalAddr(), Data: []byte("x")})
	if n, err := from.WriteBatch(ds); n != len(ds) || err != nil {
		t.Fatal(n, err)
	}
	if from.socket.single.Load() {
		t.Skip("this system does not send together")
	}
	one := make([]Datagram, 1)
	for i := range ds {
		if n, err := u.ReadBatch(one); n != 1 || err != nil || !bytes.Equal(one[0].Data, ds[i].Data) || cap(one[0].Data) > 3 {
			t.Fatalf("%d: %q, %v", i, one[0].Data, err)
		}
	}
}

// TestTooLargeForTheWayTogether: what the kernel will not cut is sent all the same.
func TestTooLargeForTheWayTogether(t *testing.T) {
	from, u := newUDP(t, loopback, MaxDatagram), newUDP(t, loopback, MaxDatagram)
	// Without checksums the kernel refuses to cut (udp_send_skb).
	err := from.socket.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
	if err != nil {
		t.Skip(err)
	}
	ds := make([]Datagram, 5)
	for i := range ds {
		ds[i] = Datagram{Peer: u.LocalAddr(), Data: []byte{byte(i)}}
	}
	if n, err := from.WriteBatch(ds); n != len(ds) || err != nil {
		t.Fatal(n, err)
	}
	for i, d := range receiveUDP(t, u, len(ds)) {
		if d.Data[0] != byte(i) {
			t.Errorf("datagram %d is %d", i, d.Data[0])
		}
	}
	if !from.socket.single.Load() {
		t.Error("it will be tried again with each batch")
	}
}

func TestGatherHearsAll(t *testing.T) {
	for _, sockets := range []int{1, 2, 200} {
		var us []*UDP
		for range sockets {
			us = append(us, newUDP(t, loopback, MaxDatagram))
		}
		g, err := NewGather(us)
		if err != nil {
			t.Fatal(err)
		}
		from := newUDP(t, loopback, MaxDatagram)
		for i, u := range us {
			data := binary.LittleEndian.AppendUint32(nil, uint32(i))
			if n, err := from.WriteBatch([]Datagram{{Peer: u.LocalAddr(), Data: data}, {Peer: u.LocalAddr(), Data: data}}); n != 2 || err != nil {
				t.Fatal(n, err)
			}
		}
		heard := make([]int, sockets)
		ds := make([]Datagram, 1)
		for range 2 * sockets {
			place, n, err := g.Next(ds, time.Now().Add(10*time.Second))
			if n != 1 || err != nil || int(binary.LittleEndian.Uint32(ds[0].Data)) != place || ds[0].Local != us[place].LocalAddr() {
				t.Fatalf("of %d sockets: %d at %d, %v", sockets, n, place, err)
			}
			heard[place]++
		}
		for i, n := range heard {
			if n != 2 {
				t.Errorf("socket %d of %d: %d datagrams", i, sockets, n)
			}
		}
		ends(t, g, us[sockets-1])
		g.Close()
		g.Wake() // does nothing
	}
}

// ends checks how Next returns without a datagram.
func ends(t *testing.T, g *Gather, last *UDP) {
	t.Helper()
	ds := make([]Datagram, 1)
	if _, _, err := g.Next(ds, time.Now().Add(-time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if _, _, err := g.Next(ds, time.Now().Add(2*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("at the deadline: %v", err)
	}
	for _, early := range []bool{true, false} {
		if early {
			g.Wake()
		} else {
			time.AfterFunc(time.Millisecond, g.Wake)
		}
		if _, _, err := g.Next(ds, time.Time{}); !errors.Is(err, ErrWoken) {
			t.Errorf("woken: %v", err)
		}
	}
	time.AfterFunc(time.Millisecond, func() { _ = last.Close() })
	if place, _, err := g.Next(ds, time.Time{}); !errors.Is(err, net.ErrClosed) || place != len(g.us)-1 {
		t.Errorf("closed: %v of socket %d", err, place)
	}
}

// TestSiblingsShareAnAddress: peers are spread over them, each stays with one, and nobody else gets the address.
func TestSiblingsShareAnAddress(t *testing.T) {
	first := newUDP(t, loopback, MaxDatagram)
	second, err := first.Sibling()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	if _, err := ListenUDP(first.LocalAddr()); !IsInUse(err) {
		t.Errorf("another one: %v", err)
	}
	g, err := NewGather([]*UDP{first, second})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	place := map[netip.AddrPort]int{}
	heard := [2]int{}
	var clients []*net.UDPConn
	for range 64 {
		clients = append(clients, dialUDP(t, first.LocalAddr()))
	}
	for range 3 {
		for _, c := range clients {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		ds := make([]Datagram, MaxBatch)
		for n := 0; n < len(clients); {
			at, k, err := g.Next(ds, time.Now().Add(10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ds[:k] {
				if before, met := place[d.Peer]; met && before != at {
					t.Errorf("%v went from one to the other", d.Peer)
				}
				place[d.Peer] = at
				heard[at]++
			}
			n += k
		}
	}
	if heard[0] == 0 || heard[1] == 0 {
		t.Errorf("all went to one: %v", heard)
	}
}

func TestDropsAreCounted(t *testing.T) {
	u := newUDP(t, loopback, MaxDatagram)
	from := dialUDP(t, u.LocalAddr())
	if n, err := u.Drops(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	const sent = 3000
	for range sent {
		if _, err := from.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	drops, err := u.Drops()
	if err != nil || drops == 0 || drops > sent {
		t.Fatalf("%d drops, %v", drops, err)
	}
	receiveUDP(t, u, sent-int(drops))
	_ = u.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := u.ReadBatch(make([]Datagram, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d more came than were not dropped, %v", n, err)
	}
	if now, err := u.GrowBuffer(1 << 20); err != nil || now < 200<<10 {
		t.Errorf("the buffer has %d bytes, %v", now, err)
	}
}

func TestAdoptedSocket(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6unspecified}) // as systemd makes them: both families
	if err != nil {
		t.Skip(err)
	}
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	u, err := AdoptUDP(f)
	_ = f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	for _, host := range []string{"127.0.0.1", "::1"} {
		asked := netip.AddrPortFrom(netip.MustParseAddr(host), u.LocalAddr().Port())
		c := dialUDP(t, asked)
		if _, err := c.Write([]byte("who")); err != nil {
			t.Skip(err)
		}
		d := receiveUDP(t, u, 1)[0]
		if n, err := u.WriteBatch([]Datagram{d}); n != 1 || err != nil || d.Local != asked {
			t.Fatalf("%+v: %d sent, %v", d, n, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 10)
		if n, err := c.Read(buf); string(buf[:n]) != "who" {
			t.Errorf("from %s: %q, %v", host, buf[:n], err)
		}
	}
}
