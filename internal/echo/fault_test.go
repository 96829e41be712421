package echo

import (
	"errors"
	"fmt"
	"math/bits"
	"testing"
	"time"
)

func TestParseFaults(t *testing.T) {
	for list, want := range map[string]string{
		"delay=50ms": "delay=50ms", "delay=0.05": "delay=50ms", "delay=1m": "delay=1m0s",
		"loss=1%": "loss=0.01", "loss=0.01": "loss=0.01", "corrupt=1e-6": "corrupt=1e-06", "dup=100%": "dup=100%", "loss=0": "",
		"reset-after=1MB": "reset-after=1000000", "reset-after=64KiB": "reset-after=65536", "reset-after=7B": "reset-after=7", "slice=7": "slice=7",
		"slice=7, delay=50ms,loss=1%": "delay=50ms,loss=0.01,slice=7",
	} {
		f, err := ParseFaults(list)
		if err != nil || f.String() != want {
			t.Errorf("%q is %q, %v; want %q", list, f, err, want)
		}
	}
	for _, list := range []string{"", ",", "loss=1%,", "loss", "loss=", "loss=1", "loss=2", "loss=101%", "loss=-1%", "loss=NaN", "loss=x",
		"loss=1%,loss=2%", "delay=x", "delay=-1s", "delay=61s", "delay=1e300", "reset-after=0", "reset-after=1.5", "reset-after=99999999999999999999",
		"reset-after=9999999999999G", "slice=0", "slice=3G", "slice=-1", "slice=MB", "Loss=1%"} {
		if f, err := ParseFaults(list); err == nil {
			t.Errorf("%q is taken as %v", list, f)
		}
	}
	var unknown *UnknownFaultError
	if _, err := ParseFaults("los=1%"); !errors.As(err, &unknown) || unknown.Name != "los" {
		t.Error(err)
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("delay=50ms,loss=1%,dup=1%,reorder=1%,reset-after=1MB,slice=7,corrupt=1e-6")
	f.Add("loss=100%,delay=0.5")
	f.Fuzz(func(t *testing.T, list string) {
		faults, err := ParseFaults(list)
		if err != nil {
			return
		}
		text := faults.String()
		for _, p := range []float64{faults.Loss, faults.Dup, faults.Reorder, faults.Corrupt} {
			if !(p >= 0 && p <= 1) {
				t.Errorf("%q has a share of %v", list, p)
			}
		}
		if text == "" {
			return
		}
		if again, err := ParseFaults(text); err != nil || again.String() != text {
			t.Errorf("%q is written %q, which is read as %v, %v", list, text, again, err)
		}
	})
}

func mustParse(t testing.TB, list string, seed uint64) *Faults {
	t.Helper()
	f, err := ParseFaults(list)
	if err != nil {
		t.Fatal(err)
	}
	f.Seed = seed
	return f
}

// TestFaultsOverRealSockets: all of them at once, against a client that checks.
func TestFaultsOverRealSockets(t *testing.T) {
	f := mustParse(t, "delay=1ms,corrupt=1e-4,slice=1000", 3)
	data := pattern(200_000)
	got := exchange(t, serveTCP(t, &Server{Faults: f}), data, 5000)
	changed := 0
	for i := range min(len(got), len(data)) {
		changed += bits.OnesCount8(got[i] ^ data[i])
	}
	if len(got) != len(data) || uint64(changed) != f.Done.Corrupted.Load() || changed == 0 {
		t.Errorf("%d bytes came back, %d changed, %d counted", len(got), changed, f.Done.Corrupted.Load())
	}
	u := mustParse(t, "dup=100%,delay=5ms", 3)
	c := dialUDP(t, serveUDP(t, &Server{Faults: u}, "127.0.0.1:0"))
	buf := make([]byte, 100)
	for i := range 20 {
		begin := time.Now()
		if _, err := c.Write(fmt.Append(nil, "datagram ", i)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			n, err := c.Read(buf)
			if err != nil || string(buf[:n]) != fmt.Sprint("datagram ", i) || time.Since(begin) < 5*time.Millisecond {
				t.Fatalf("%q after %v, %v", buf[:n], time.Since(begin), err)
			}
		}
	}
}
