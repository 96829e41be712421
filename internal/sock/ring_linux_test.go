package sock

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
)

// What there is no room for is counted.
func TestRawLost(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	ports := holdPorts(t, 1)
	r := openRaw(t, RawConfig{First: ports.First(), Last: ports.Last(), Ring: 1})
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ports.First())
	syn := tcpPacket(netip.MustParseAddrPort("127.0.0.1:1"), to, "S", 1)
	const total = 10000
	for range total / 100 {
		sendAllOf(t, r, slices.Repeat([][]byte{syn}, 100)...)
	}
	first := r.Lost()
	if first == 0 || first >= total {
		t.Errorf("lost %d of %d", first, total)
	}
	if again := r.Lost(); again != first {
		t.Errorf("and then %d", again)
	}
	heard := 0
	_ = r.SetReadDeadline(time.Now().Add(2 * RawLag))
	if err := r.Receive(func([]byte, int, time.Time) { heard++ }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if heard+int(r.Lost()) != total {
		t.Errorf("%d heard, %d lost of %d", heard, r.Lost(), total)
	}
	_ = r.Close()
	if again := r.Lost(); again != first {
		t.Errorf("when it is closed %d", again)
	}
}

// At the deadline nothing is left that was here RawLag before, though nobody was there to hear it.
func TestRawDeadline(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	ports := holdPorts(t, 1)
	r := openRaw(t, RawConfig{First: ports.First(), Last: ports.Last()})
	syn := tcpPacket(netip.MustParseAddrPort("127.0.0.1:1"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ports.First()), "S", 1)
	for i := range 20 {
		n := 1 + i*i
		sendAllOf(t, r, slices.Repeat([][]byte{syn}, n)...)
		time.Sleep(RawLag)
		_ = r.SetReadDeadline(time.Unix(1, 0))
		heard := 0
		if err := r.Receive(func([]byte, int, time.Time) { heard++ }); !errors.Is(err, os.ErrDeadlineExceeded) || heard != n {
			t.Errorf("heard %d of %d, %v", heard, n, err)
		}
	}
}

func TestRawReceiveEnds(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	defer goleak.VerifyNone(t)
	r, err := OpenRaw(RawConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	receive := func() { ended <- r.Receive(func([]byte, int, time.Time) {}) }
	go receive()
	time.Sleep(10 * time.Millisecond)
	_ = r.SetReadDeadline(time.Now())
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_ = r.SetReadDeadline(time.Time{})
	go receive()
	var used, idle unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &used)
	time.Sleep(300 * time.Millisecond)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &idle)
	if spent := time.Duration(idle.Utime.Nano() + idle.Stime.Nano() - used.Utime.Nano() - used.Stime.Nano()); spent > 30*time.Millisecond {
		t.Errorf("waiting took %v of 300 ms", spent)
	}
	// Closed while packets pour in.
	stop, flood := make(chan struct{}), openRaw(t, RawConfig{})
	var wg sync.WaitGroup
	wg.Go(func() {
		syn := tcpPacket(netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"), "S", 1)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = flood.Send([][]byte{syn, syn, syn})
				_ = r.Lost()
			}
		}
	})
	time.Sleep(50 * time.Millisecond)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	if _, err := r.Send([][]byte{tcpPacket(netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"), "S", 1)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("send after the end: %v", err)
	}
	if err := r.Receive(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("receive after the end: %v", err)
	}
	if err := r.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close after the end: %v", err)
	}
}
