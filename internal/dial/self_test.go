package dial

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"

	"sonde/internal/sock"
)

// BenchmarkSelfConnect connects again and again to ports of the ephemeral range where nobody listens, which now and then the system
// gives to our own end, too. None may be taken for a connection. A million of them, where they meet nobody's servers:
//
//	go test -c -o dial.test ./internal/dial
//	unshare -n sh -c "ip link set lo up; ./dial.test -test.run '^$' -test.bench SelfConnect -test.benchtime 1000000x"
func BenchmarkSelfConnect(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("the range is Linux's")
	}
	const low, high = 32768, 60999 // ip_local_port_range's default
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var self int
	for i := range b.N {
		to := netip.AddrPortFrom(loopback, uint16(low+i%(high-low+1)))
		conn, err := Dialer{}.DialTCP(b.Context(), to)
		if err == nil {
			if conn.LocalAddr().String() == conn.RemoteAddr().String() {
				b.Fatalf("connected to itself: %v", to)
			}
			_ = conn.Close() // somebody listens there
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Ending != sock.Reset {
			b.Fatalf("%v: %v", to, err)
		}
		if e.Self {
			self++
		}
	}
	b.ReportMetric(float64(self), "self-connects-refused")
}
