package target

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sonde/internal/probe"
)

func drawPorts(t *rapid.T, name string) map[uint16]bool {
	set := map[uint16]bool{}
	for _, p := range rapid.SliceOf(rapid.OneOf(rapid.Uint16Range(1, 40), rapid.Uint16Range(65500, 65535))).Draw(t, name) {
		set[p] = true
	}
	return set
}

func portsOf(set map[uint16]bool) Ports {
	var list []uint16
	for p := range set {
		list = append(list, p)
	}
	return tcp(list...)
}

func TestPortsAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPorts(t, "a"), drawPorts(t, "b")
		p, q := portsOf(a), portsOf(b)
		union, without := p.Union(q), p.Without(q)
		n := uint64(0)
		for port := range 65536 {
			port := uint16(port)
			if a[port] {
				n++
			}
			if _, in := union.Index(probe.TCP, port); in != (a[port] || b[port]) {
				t.Fatalf("%d in union: %v", port, in)
			}
			if _, in := without.Index(probe.TCP, port); in != (a[port] && !b[port]) {
				t.Fatalf("%d in difference: %v", port, in)
			}
		}
		if p.Len() != n {
			t.Fatalf("Len = %d, want %d", p.Len(), n)
		}
		for j := range p.Len() {
			proto, port := p.At(j)
			if back, ok := p.Index(proto, port); !ok || back != j {
				t.Fatalf("Index(At(%d)) = %d, %v", j, back, ok)
			}
		}
		if n > 0 {
			again, err := ParsePorts(p.String(), probe.TCP, nil)
			if err != nil || !again.Equal(p) {
				t.Fatalf("%q reads back as %q, %v", p, again, err)
			}
		}
	})
}

func TestPortsKeepProtocolsApart(t *testing.T) {
	p := PortList(probe.TCP, 53).Union(PortList(probe.UDP, 53, 161))
	if p.Len() != 3 {
		t.Fatalf("Len = %d, want 3", p.Len())
	}
	if _, ok := p.Index(probe.TCP, 161); ok {
		t.Error("161/tcp is in the set")
	}
	if proto, port := p.At(2); proto != probe.UDP || port != 161 {
		t.Errorf("At(2) = %d/%s", port, proto)
	}
}

// Whatever set of both protocols is written reads back as itself, whichever protocol is the default.
func TestPortsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tcpPorts, udpPorts := portsOf(drawPorts(t, "tcp")), drawPorts(t, "udp")
		list := make([]uint16, 0, len(udpPorts))
		for p := range udpPorts {
			list = append(list, p)
		}
		p := tcpPorts.Union(PortList(probe.UDP, list...))
		if p.Len() == 0 {
			return
		}
		if named := strings.ContainsRune(p.String(), ':'); named != (len(list) > 0) {
			t.Fatalf("%q: protocols named: %v", p, named)
		}
		again, err := ParsePorts(p.String(), probe.TCP, nil)
		if err != nil || !again.Equal(p) {
			t.Fatalf("%q reads back as %q, %v", p, again, err)
		}
		if len(list) > 0 {
			if again, err = ParsePorts(p.String(), probe.UDP, nil); err != nil || !again.Equal(p) {
				t.Fatalf("%q reads back under UDP as %q, %v", p, again, err)
			}
		}
	})
}
