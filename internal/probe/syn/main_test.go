package syn_test

import (
	"net"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"sonde/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	goleak.VerifyTestMain(m)
}

// listen listens on some port of an address until t ends.
func listen(t testing.TB, a netip.Addr) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return netip.AddrPortFrom(a, uint16(l.Addr().(*net.TCPAddr).Port))
}
