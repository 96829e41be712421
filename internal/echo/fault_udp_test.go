package echo

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/sock"
)

// numbered sends n datagrams, each with its number, and returns the numbers in the order in which they came back.
func numbered(w *world, c interface {
	ReadBatch([]sock.Datagram) (int, error)
	SetReadDeadline(time.Time) error
}, n int) (back []int) {
	w.network.Delay = 0 // so that nothing but the faults changes the order
	collect := func(wait time.Duration) {
		time.Sleep(wait)
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		for {
			ds := make([]sock.Datagram, 64)
			got, err := c.ReadBatch(ds)
			if err != nil {
				return
			}
			for _, d := range ds[:got] {
				var i int
				if _, err := fmt.Sscanf(string(d.Data), "number %d", &i); err != nil {
					w.Errorf("%q came back", d.Data)
				}
				back = append(back, i)
			}
		}
	}
	for i := range n {
		w.network.Send(client, server, fmt.Appendf(nil, "number %d", i))
		if i%32 == 31 {
			collect(10 * time.Millisecond)
		}
	}
	collect(time.Second)
	return back
}

// many is how many datagrams the tests of seeds send.
const many = 3_000

// fates are what a list of faults does to many datagrams.
func fates(t *testing.T, list string, seed uint64) (back []int, f *Faults) {
	f = mustParse(t, list, seed)
	inWorld(t, Server{Faults: f, RatePerNet: 1 << 20}, func(w *world) { back = numbered(w, w.listen(client), many) }, server)
	return back, f
}

// expected draws what the seed says of so many datagrams of the first peer.
func expected(f *Faults, n int) (lost, twice, behind []int) {
	d := fate{f.generator(ofPeer + 1)}
	for i := range n {
		l, t, b := d.next(f)
		for _, is := range []struct {
			so   bool
			list *[]int
		}{{l, &lost}, {t && !l, &twice}, {b && !l, &behind}} {
			if is.so {
				*is.list = append(*is.list, i)
			}
		}
	}
	return lost, twice, behind
}

// TestLossIsThatOfTheSeed: exactly those that the seed says are lost, 3 % of them, and again the same.
func TestLossIsThatOfTheSeed(t *testing.T) {
	back, f := fates(t, "loss=3%", 7)
	lost, _, _ := expected(f, many)
	var missing []int
	for i, next := 0, 0; i < many; i++ {
		if next < len(back) && back[next] == i {
			next++
		} else {
			missing = append(missing, i)
		}
	}
	if !slices.Equal(missing, lost) || f.Done.Lost.Load() != uint64(len(lost)) || len(back)+len(lost) != many {
		t.Errorf("%d are missing, the seed says %d, %d were counted", len(missing), len(lost), f.Done.Lost.Load())
	}
	if len(lost) < 60 || len(lost) > 120 {
		t.Errorf("%d of 3,000 are no 3 %%", len(lost))
	}
	if again, _ := fates(t, "loss=3%", 7); !slices.Equal(again, back) {
		t.Error("the same seed lost others")
	}
	if other, _ := fates(t, "loss=3%", 8); slices.Equal(other, back) {
		t.Error("another seed lost the same")
	}
	if with, _ := fates(t, "loss=3%,corrupt=0", 7); !slices.Equal(with, back) {
		t.Error("another fault changed what is lost")
	}
}

func TestDupIsThatOfTheSeed(t *testing.T) {
	back, f := fates(t, "dup=3%", 7)
	_, twice, _ := expected(f, many)
	var doubled []int
	for i := 1; i < len(back); i++ {
		if back[i] == back[i-1] {
			doubled = append(doubled, back[i])
		}
	}
	if !slices.Equal(doubled, twice) || len(back) != many+len(twice) || f.Done.Doubled.Load() != uint64(len(twice)) || len(twice) < 60 {
		t.Errorf("%d came twice, the seed says %d", len(doubled), len(twice))
	}
}

func TestReorderIsThatOfTheSeed(t *testing.T) {
	back, f := fates(t, "reorder=3%", 7)
	_, _, behind := expected(f, many)
	var overtaken []int
	for i := 1; i < len(back); i++ {
		if back[i] < back[i-1] {
			overtaken = append(overtaken, back[i])
		}
	}
	whole := slices.Sorted(slices.Values(back))
	if len(whole) != many || whole[0] != 0 || whole[many-1] != many-1 {
		t.Errorf("%d came back", len(back))
	}
	// One that is to wait while another waits is let through, and one at the end of a burst is not overtaken in time.
	for _, i := range overtaken {
		if !slices.Contains(behind, i) {
			t.Errorf("%d was overtaken, and should not", i)
		}
	}
	if n := len(overtaken); uint64(n) != f.Done.Reordered.Load() || n < len(behind)*9/10 || len(behind) < 60 {
		t.Errorf("%d of %d were overtaken, %d counted", n, len(behind), f.Done.Reordered.Load())
	}
}

func TestNobodyToOvertakeIsWaitedForSoLong(t *testing.T) {
	for delay, want := range map[string]time.Duration{"50ms": reorderWait, "300ms": 300 * time.Millisecond} {
		inWorld(t, Server{Faults: mustParse(t, "reorder=100%,delay="+delay, 1)}, func(w *world) {
			c := w.listen(client)
			begin := time.Now()
			w.network.Send(client, server, []byte("x"))
			if _, err := c.ReadBatch(make([]sock.Datagram, 1)); err != nil {
				w.Error(err)
			}
			if took := time.Since(begin); took != 2*w.network.Delay+want {
				w.Errorf("with a delay of %s it took %v", delay, took)
			}
		}, server)
	}
}

// TestWhoWaitsToBeOvertakenKeepsNobodyWaiting: a delayed reply goes out at its own time, whoever was let go meanwhile.
func TestWhoWaitsToBeOvertakenKeepsNobodyWaiting(t *testing.T) {
	for delay, want := range map[time.Duration]time.Duration{50 * time.Millisecond: reorderWait, 300 * time.Millisecond: 300 * time.Millisecond} {
		f := mustParse(t, "delay="+delay.String(), 1)
		f.Reorder = 1
		synctest.Test(t, func(t *testing.T) {
			r := &faultyReplies{faults: f, peers: make(map[netip.AddrPort]*faultyPeer)}
			begin := time.Now()
			sent := map[netip.AddrPort]time.Duration{}
			send := func(_ Conn, ds []sock.Datagram) {
				for _, d := range ds {
					sent[d.Peer] = time.Since(begin)
				}
			}
			r.treat(nil, []sock.Datagram{{Peer: client, Data: []byte("held back")}}, send)
			time.Sleep(reorderWait * 9 / 10)
			f.Reorder = 0
			wake := r.treat(nil, []sock.Datagram{{Peer: server2, Data: []byte("plain")}}, send)
			for !wake.IsZero() {
				time.Sleep(time.Until(wake))
				wake = r.treat(nil, nil, send)
			}
			if plain := reorderWait*9/10 + delay; sent[client] != want || sent[server2] != plain {
				t.Errorf("with a delay of %v the one held back was sent after %v, want %v; the other after %v, want %v", delay, sent[client], want, sent[server2], plain)
			}
		})
	}
}

// TestDelayOverUDP: each reply is late by as much, whatever comes meanwhile.
func TestDelayOverUDP(t *testing.T) {
	inWorld(t, Server{Faults: mustParse(t, "delay=50ms", 1)}, func(w *world) {
		w.network.Delay = 0
		c := w.listen(client)
		begin := time.Now()
		go func() {
			for i := range 10 {
				w.network.Send(client, server, []byte{byte(i)})
				time.Sleep(7 * time.Millisecond)
			}
		}()
		for i := range 10 {
			ds := make([]sock.Datagram, 1)
			_, err := c.ReadBatch(ds)
			want := 50*time.Millisecond + time.Duration(i)*7*time.Millisecond
			if at := time.Since(begin); err != nil || at != want || !bytes.Equal(ds[0].Data, []byte{byte(i)}) {
				w.Errorf("reply %d is % x, after %v, %v; want %v", i, ds[0].Data, at, err, want)
			}
		}
	}, server)
}

// TestPeersHaveFatesOfTheirOwn: what happens to one peer's datagrams does not depend on what others send.
func TestPeersHaveFatesOfTheirOwn(t *testing.T) {
	alone, f := fates(t, "loss=10%,dup=10%", 7)
	var beside []int
	inWorld(t, Server{Faults: mustParse(t, "loss=10%,dup=10%", 7), RatePerNet: 1 << 20}, func(w *world) {
		w.network.Delay = 0
		c := w.listen(client)
		w.network.Send(client, server, []byte("number 0"))
		first := w.replies(c)
		go func() {
			for i := range 300 {
				w.network.Send(server2, server, fmt.Append(nil, i))
				time.Sleep(3 * time.Millisecond)
			}
		}()
		for range first {
			beside = append(beside, 0)
		}
		for i := 1; i < many; i++ {
			w.network.Send(client, server, fmt.Appendf(nil, "number %d", i))
			if i%32 == 31 || i == many-1 {
				for _, d := range w.replies(c) {
					var k int
					_, _ = fmt.Sscanf(string(d.Data), "number %d", &k)
					beside = append(beside, k)
				}
			}
		}
		time.Sleep(5 * time.Second)
	}, server)
	if !slices.Equal(alone, beside) || f.Done.Lost.Load() == 0 {
		t.Errorf("%d came back beside another peer, %d alone", len(beside), len(alone))
	}
}

// TestRepliesHeldBackAreBounded: a flood under a long delay costs replies, not memory.
func TestRepliesHeldBackAreBounded(t *testing.T) {
	f := mustParse(t, "delay=1m", 1)
	r := &faultyReplies{faults: f, peers: make(map[netip.AddrPort]*faultyPeer)}
	const size, sent = 16 << 10, 2 * mostReplies / (16 << 10)
	for range sent {
		r.treat(nil, []sock.Datagram{{Peer: client, Data: make([]byte, size)}}, nil)
	}
	if kept := len(r.queue); kept*size > mostReplies+size || f.Done.Overflowed.Load() != uint64(sent-kept) {
		t.Errorf("%d are held back, %d overflowed", kept, f.Done.Overflowed.Load())
	}
	for i := range 3 * mostPeers {
		r.peer(netip.AddrPortFrom(client.Addr(), uint16(i)))
	}
	if len(r.peers) > mostPeers {
		t.Errorf("%d peers are remembered", len(r.peers))
	}
}
