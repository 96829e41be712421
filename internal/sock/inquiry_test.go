package sock

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func newInquiry(t *testing.T, v6 bool) *Inquiry {
	t.Helper()
	q, err := NewInquiry(v6, netip.Addr{}, "")
	if err != nil {
		t.Skipf("no socket: %v", err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// next reads one thing.
func next(t *testing.T, q *Inquiry) Heard {
	t.Helper()
	_ = q.SetReadDeadline(time.Now().Add(10 * time.Second))
	hs := make([]Heard, 1)
	if n, err := q.Read(hs); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	return hs[0]
}

// One socket hears who answers and, on Linux, who refuses; a refusal keeps nothing from being sent to others.
func TestInquiry(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, loopback := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			answering, silent := newUDP(t, loopback, 64), newUDP(t, loopback, 64)
			shut := silent.LocalAddr()
			_ = silent.Close()
			q := newInquiry(t, answering.LocalAddr().Addr().Is6())
			for range 3 {
				if err := q.Send(shut, []byte("?")); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Send(answering.LocalAddr(), []byte("question")); err != nil {
				t.Fatal(err)
			}
			d := receiveUDP(t, answering, 1)[0]
			if d.Peer.Port() != q.LocalAddr().Port() || string(d.Data) != "question" {
				t.Errorf("%+v", d)
			}
			if _, err := answering.WriteBatch([]Datagram{{Peer: d.Peer, Data: []byte("answer")}}); err != nil {
				t.Fatal(err)
			}
			if runtime.GOOS == "linux" {
				for range 3 {
					h := next(t, q)
					if !h.Refused || h.Peer != shut || h.Refusal.From != shut.Addr() || h.Refusal.Errno != ErrRefused {
						t.Errorf("%+v", h)
					}
				}
			}
			h := next(t, q)
			if h.Refused || h.Peer != answering.LocalAddr() || string(h.Data) != "answer" || runtime.GOOS == "linux" && h.TTL != 64 {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestInquiryEnds(t *testing.T) {
	q := newInquiry(t, false)
	_ = q.SetReadDeadline(time.Now())
	if _, err := q.Read(make([]Heard, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	for _, many := range []string{"224.0.0.1:9", "255.255.255.255:9"} {
		if err := q.Send(netip.MustParseAddrPort(many), nil); !errors.Is(err, ErrToMany) {
			t.Errorf("%s: %v", many, err)
		}
	}
	if _, err := NewInquiry(false, netip.MustParseAddr("203.0.113.9"), ""); err == nil {
		t.Error("bound to an address that is not ours")
	}
	_ = q.SetReadDeadline(time.Time{})
	ended := make(chan error)
	go func() {
		_, err := q.Read(make([]Heard, 1))
		ended <- err
	}()
	_ = q.Close()
	if err := <-ended; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// What the kernel throws away because nobody reads is counted.
func TestInquiryCountsDrops(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	q, flood := newInquiry(t, false), newUDP(t, "127.0.0.1:0", 64)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), q.LocalAddr().Port())
	send := func() {
		if _, err := flood.WriteBatch([]Datagram{{Peer: to, Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	total := uint32(20 * q.Room())
	for range total {
		send()
	}
	hs, kept := make([]Heard, MaxBatch), uint32(0)
	_ = q.SetReadDeadline(time.Now().Add(-time.Second))
	for n := 1; n > 0; {
		n, _ = q.Read(hs)
		kept += uint32(n)
	}
	send() // the count comes with the next that is kept
	if dropped := next(t, q).Dropped; dropped == 0 || kept+dropped != total {
		t.Errorf("%d sent, %d kept, %d dropped", total, kept, dropped)
	}
}
