package sock

import (
	"net"
	"os"
	"testing"
)

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A reset leaves the queue empty, and whatever comes of a dial, no descriptor stays.
func TestTapOfAReset(t *testing.T) {
	l, to := listenOn(t, "127.0.0.1:0")
	for _, open := range []bool{true, false} {
		if !open {
			_ = l.Close()
		}
		var tap Tap
		dialer := net.Dialer{Control: tap.Control}
		_, _ = tap.Take() // of no dial
		before := descriptors(t)
		conn, err := dialer.Dial("tcp", to.String())
		if (err == nil) != open {
			t.Fatal(err)
		}
		if e, said := tap.Take(); said || !tap.Hears() {
			t.Errorf("open %v: %+v, heard %v", open, e, tap.Hears())
		}
		if conn != nil {
			_ = conn.Close()
		}
		if n := descriptors(t); n != before && n != before+2 { // the runtime's own poller comes with the first
			t.Errorf("%d descriptors, before %d", n, before)
		}
	}
}
