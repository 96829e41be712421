package serve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"sonde/internal/probe"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// freePorts returns n ports of the loopback that were free a moment ago, for TCP and UDP, and not from the range of
// which the kernel gives ports to others.
func freePorts(t *testing.T, n int) (ports []uint16) {
	t.Helper()
	for p := uint16(20_000); len(ports) < n && p < 30_000; p++ {
		s, err := Bind(t.Context(), Want{Addrs: []netip.Addr{v4loopback}, Port: p, TCP: true, UDP: true})
		if err == nil {
			s.Close()
			ports = append(ports, p)
		}
	}
	if len(ports) < n {
		t.Skip("too few ports are free")
	}
	return ports
}

func TestBindPortsSaysWhatIsTaken(t *testing.T) {
	ports := freePorts(t, 20)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(v4loopback, ports[5]).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	set := target.PortList(probe.TCP, ports...).Union(target.PortList(probe.UDP, ports[:3]...))
	s, err := BindPorts(t.Context(), Want{Addrs: []netip.Addr{v4loopback}, TCP: true, UDP: true}, set)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.TCP) != 19 || len(s.UDP) != 3 || len(s.Failed) != 1 {
		t.Fatalf("%d TCP, %d UDP, failed: %v", len(s.TCP), len(s.UDP), s.Failed)
	}
	if e := s.Failed[0]; e.Proto != probe.TCP || e.Addr.Port() != ports[5] || !sock.IsInUse(e) {
		t.Errorf("failed: %v", e)
	}
	for _, u := range s.UDP {
		if _, ok := set.Index(probe.UDP, u.LocalAddr().Port()); !ok {
			t.Errorf("%v was not wanted", u.LocalAddr())
		}
	}
}

func TestBindPortsWithNothingLeftIsAnError(t *testing.T) {
	port := freePorts(t, 1)[0]
	want := Want{Addrs: []netip.Addr{v4loopback}, TCP: true}
	first, err := BindPorts(t.Context(), want, target.PortList(probe.TCP, port))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	s, err := BindPorts(t.Context(), want, target.PortList(probe.TCP, port))
	var e *BindError
	if !errors.As(err, &e) || !sock.IsInUse(err) || len(s.Failed) != 1 {
		t.Errorf("%v", err)
	}
	_, err = BindPorts(t.Context(), Want{Addrs: []netip.Addr{notOurs}, TCP: true}, target.PortList(probe.TCP, port))
	if !sock.IsNoAddress(err) {
		t.Errorf("an address that is not ours: %v", err)
	}
}

// TestBindPortsMissesAnAddressOnce: not for each of its ports.
func TestBindPortsMissesAnAddressOnce(t *testing.T) {
	ports := freePorts(t, 5)
	s, err := BindPorts(t.Context(), Want{Addrs: []netip.Addr{notOurs, v4loopback}, TCP: true}, target.PortList(probe.TCP, ports...))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.TCP) != 5 || len(s.Missing) != 1 || len(s.Failed) != 0 {
		t.Errorf("%d bound, missing %v, failed %v", len(s.TCP), s.Missing, s.Failed)
	}
}

func TestBindPortsCanBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ports := freePorts(t, 2)
	if s, err := BindPorts(ctx, Want{Addrs: []netip.Addr{v4loopback}, TCP: true}, target.PortList(probe.TCP, ports...)); s != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", s, err)
	}
}
