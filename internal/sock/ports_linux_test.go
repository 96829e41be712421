package sock

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"sonde/internal/lab"
)

func TestHoldPorts(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	p := holdPorts(t, 10)
	low, high, err := clientPorts()
	if err != nil || int(p.First()) < low || int(p.Last()) > high || p.Last() != p.First()+9 {
		t.Errorf("ports %d to %d of %d to %d, %v", p.First(), p.Last(), low, high, err)
	}
	for _, a := range []string{"127.0.0.1", "::1", "0.0.0.0", "::"} {
		for _, port := range []uint16{p.First(), p.Last()} {
			if l, err := net.Listen("tcp", net.JoinHostPort(a, strconv.Itoa(int(port)))); !IsInUse(err) {
				t.Errorf("%s port %d: %v, %v", a, port, l, err)
			}
		}
	}
	for _, a := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		if c, err := net.Dial("tcp", netip.AddrPortFrom(a, p.First()).String()); !errors.Is(err, ErrRefused) {
			t.Errorf("%v, %v", c, err)
		}
	}
	if again, err := HoldPorts(3, p.First()-2); err == nil || !IsInUse(err) || !strings.Contains(err.Error(), strconv.Itoa(int(p.First()))) {
		t.Errorf("%v, %v", again, err)
	}
	first := p.First()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	exactly, err := HoldPorts(10, first)
	if err != nil || exactly.First() != first {
		t.Errorf("%v, %v", exactly, err)
	}
	_ = exactly.Close()
}

// Where the kernel gives ports to whoever connects, it never gives these.
func TestHeldPortsAreNotGivenAway(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40019"), 0); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := holdPorts(t, 12)
	for got := range 9 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			if got != 8 { // and a 9th there is not
				t.Errorf("after %d connections: %v", got, err)
			}
			break
		}
		defer func() { _ = c.Close() }()
		if port := c.LocalAddr().(*net.TCPAddr).AddrPort().Port(); port >= p.First() && port <= p.Last() {
			t.Errorf("port %d is held", port)
		}
	}
	// Half of the rest is connected, the other half held: there is no row of twelve.
	if q, err := HoldPorts(12, 0); !IsInUse(err) {
		t.Errorf("%v, %v", q, err)
	}
}

func TestHoldPortsWithoutIPv6(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	p := holdPorts(t, 2)
	if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.First())))); !IsInUse(err) {
		t.Errorf("%v, %v", l, err)
	}
}

func TestNoSuchPorts(t *testing.T) {
	for _, c := range []struct {
		n     int
		first uint16
	}{{0, 0}, {-1, 5}, {2, 65535}, {70000, 0}, {60000, 0}} {
		if p, err := HoldPorts(c.n, c.first); err == nil {
			t.Errorf("%+v: %d to %d", c, p.First(), p.Last())
		}
	}
}
