package sock

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func newUDP(t *testing.T, addr string, size int) *UDP {
	t.Helper()
	u, err := listenUDP(netip.MustParseAddrPort(addr), size)
	if err != nil {
		if IsNoAddress(err) {
			t.Skipf("no address here to bind %s: %v", addr, err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// receiveUDP reads until it has n datagrams, whose data it copies.
func receiveUDP(t *testing.T, u *UDP, n int) (all []Datagram) {
	t.Helper()
	if err := u.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ds := make([]Datagram, MaxBatch)
	for len(all) < n {
		k, err := u.ReadBatch(ds)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(all), n, err)
		}
		for _, d := range ds[:k] {
			d.Data = bytes.Clone(d.Data)
			all = append(all, d)
		}
	}
	return all
}

func dialUDP(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestReplyLeavesFromTheAddressAsked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs more than one loopback address")
	}
	for _, test := range []struct{ bind, ask string }{
		{"0.0.0.0:0", "127.0.0.2"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"[::]:0", "::1"},
	} {
		t.Run(test.ask, func(t *testing.T) {
			u := newUDP(t, test.bind, MaxDatagram)
			asked := netip.AddrPortFrom(netip.MustParseAddr(test.ask), u.LocalAddr().Port())
			client := dialUDP(t, asked) // connected: hears no other address
			if _, err := client.Write([]byte("who")); err != nil {
				t.Fatal(err)
			}
			d := receiveUDP(t, u, 1)[0]
			if d.Local != asked || d.Peer != unmapped(client.LocalAddr().(*net.UDPAddr).AddrPort()) || d.ToMany || d.Truncated || d.Interface == 0 {
				t.Errorf("received %+v, sent to %v from %v", d, asked, client.LocalAddr())
			}
			if n, err := u.WriteBatch([]Datagram{d}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
			buf := make([]byte, 10)
			if n, err := client.Read(buf); err != nil || string(buf[:n]) != "who" {
				t.Errorf("reply %q, %v", buf[:n], err)
			}
		})
	}
}

func TestBroadcastAndMulticastAreMarked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("loopback has no broadcast address here")
	}
	u := newUDP(t, "0.0.0.0:0", MaxDatagram)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), u.LocalAddr().Port())
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.WriteToUDPAddrPort([]byte("all"), to); err != nil {
		t.Fatal(err)
	}
	if d := receiveUDP(t, u, 1)[0]; !d.ToMany || d.Local.Addr() != to.Addr() {
		t.Errorf("not marked: %+v", d)
	}
}

func TestEmptyAndTruncatedDatagrams(t *testing.T) {
	u := newUDP(t, "127.0.0.1:0", 8)
	client := dialUDP(t, u.LocalAddr())
	for _, s := range []string{"", "12345678", "123456789"} {
		if _, err := client.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	got := receiveUDP(t, u, 3)
	for i, want := range []struct {
		data      string
		truncated bool
	}{{"", false}, {"12345678", false}, {"12345678", true}} {
		d := got[i]
		if string(d.Data) != want.data || d.Truncated != want.truncated {
			t.Errorf("datagram %d: %q, truncated %v", i, d.Data, d.Truncated)
		}
	}
}

func TestLargestDatagramsAreWhole(t *testing.T) {
	for bind, size := range map[string]int{"127.0.0.1:0": 65507, "[::1]:0": 65527} {
		u := newUDP(t, bind, MaxDatagram)
		client := dialUDP(t, u.LocalAddr())
		if _, err := client.Write(make([]byte, size)); err != nil {
			t.Skipf("this system sends no %d bytes: %v", size, err)
		}
		if d := receiveUDP(t, u, 1)[0]; len(d.Data) != size || d.Truncated {
			t.Errorf("%s: %d of %d bytes, truncated %v", bind, len(d.Data), size, d.Truncated)
		}
	}
}

func TestBadDestinationIsSkipped(t *testing.T) {
	from, to := newUDP(t, "127.0.0.1:0", MaxDatagram), newUDP(t, "127.0.0.1:0", MaxDatagram)
	good := Datagram{Peer: to.LocalAddr(), Data: []byte("good")}
	bad := Datagram{Peer: netip.MustParseAddrPort("127.0.0.1:0"), Data: []byte("bad")}
	sent, err := from.WriteBatch([]Datagram{bad, good, bad, good, good, bad})
	if sent != 3 || err == nil || !strings.Contains(err.Error(), "127.0.0.1:0") || !strings.Contains(err.Error(), "2 more") {
		t.Errorf("sent %d, %v", sent, err)
	}
	for _, d := range receiveUDP(t, to, 3) {
		if string(d.Data) != "good" {
			t.Errorf("received %q", d.Data)
		}
	}
}

// TestSendAll: whatever the system sends at a time and refuses, every good datagram is sent
// once, in order, and every bad one is passed over.
func TestSendAll(t *testing.T) {
	refused := os.NewSyscallError("sendmmsg", syscall.ECONNREFUSED)
	unreachable := os.NewSyscallError("sendmmsg", syscall.ENETUNREACH)
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"good", "bad", "after-refusal"}), 0, 50).Draw(t, "datagrams")
		most := rapid.IntRange(1, 8).Draw(t, "most at a time")
		ds := make([]Datagram, len(kinds))
		var want []int
		for i, kind := range kinds {
			ds[i].Interface = i
			if kind != "bad" {
				want = append(want, i)
			}
		}
		var got []int
		heard := make(map[int]bool)
		sent, err := sendAll(ds, func(ds []Datagram) (n int, err error) {
			for ; n < min(most, len(ds)); n++ {
				i := ds[n].Interface
				switch kind := kinds[i]; {
				case kind == "bad":
					err = unreachable
				case kind == "after-refusal" && !heard[i]:
					heard[i] = n == 0 // the error is told only by a call that sends nothing
					err = refused
				}
				if err != nil {
					break
				}
				got = append(got, i)
			}
			if n > 0 {
				return n, nil
			}
			return 0, err
		})
		if !slices.Equal(got, want) || sent != len(want) || (err != nil) != (len(want) < len(kinds)) {
			t.Fatalf("of %v sent %v (%d), %v", kinds, got, sent, err)
		}
	})
}

func TestReadEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	u := newUDP(t, "127.0.0.1:0", MaxDatagram)
	_ = u.SetReadDeadline(time.Unix(1, 0))
	if _, err := u.ReadBatch(make([]Datagram, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	_ = u.SetReadDeadline(time.Time{})
	ended := make(chan error)
	go func() {
		_, err := u.ReadBatch(make([]Datagram, 1))
		ended <- err
	}()
	_ = u.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := u.WriteBatch([]Datagram{{Peer: u.LocalAddr()}}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestAddressTroubleIsToldApart(t *testing.T) {
	u := newUDP(t, "127.0.0.1:0", 8)
	if _, err := ListenUDP(u.LocalAddr()); !IsInUse(err) || IsNoAddress(err) {
		t.Errorf("taken: %v", err)
	}
	if _, err := ListenUDP(netip.MustParseAddrPort("203.0.113.77:0")); !IsNoAddress(err) || IsInUse(err) {
		t.Errorf("not ours: %v", err)
	}
}
