package lab

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"sonde/internal/probe"
)

// TestTruthShares holds that the rule has about as much open and closed as it says, whichever part of a network is asked.
func TestTruthShares(t *testing.T) {
	v6 := netip.MustParseAddr("fd77::").As16()
	for _, test := range []struct {
		name string
		at   func(i uint32) netip.AddrPort
	}{
		{"hosts", func(i uint32) netip.AddrPort { return netip.AddrPortFrom(v4(10<<24+77<<16+i), 80) }},
		{"hosts and ports", func(i uint32) netip.AddrPort { return netip.AddrPortFrom(v4(10<<24+i>>5), uint16(1+i%32)) }},
		{"ports", func(i uint32) netip.AddrPort { return netip.AddrPortFrom(v4(10<<24+i>>15), uint16(i%answerUnused)) }},
		{"ipv6", func(i uint32) netip.AddrPort {
			binary.BigEndian.PutUint32(v6[12:], i)
			return netip.AddrPortFrom(netip.AddrFrom16(v6), 443)
		}},
	} {
		const all = 1 << 16
		var n [probe.Open + 1]float64
		for i := range uint32(all) {
			n[Truth(test.at(i))]++
		}
		if open, closed := n[probe.Open]/all, n[probe.Closed]/all; open < 0.042 || open > 0.052 || closed < 0.115 || closed > 0.135 {
			t.Errorf("%s: %.1f %% open and %.1f %% closed, want about 4.7 and 12.5", test.name, 100*open, 100*closed)
		}
	}
}

func v4(a uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a))) }

// TestNobodyListensHigh holds that no host looks as if it accepted everything.
func TestNobodyListensHigh(t *testing.T) {
	for port := answerUnused; port < 1<<16; port++ {
		if Truth(netip.AddrPortFrom(v4(10<<24+1), uint16(port))) == probe.Open {
			t.Fatalf("port %d is open", port)
		}
	}
}

// TestStateOfWire knows that TCP never meets listeners and rules behind a Wire, and that all else does.
func TestStateOfWire(t *testing.T) {
	open := netip.MustParseAddrPort("10.77.0.0:1")
	for Truth(open) != probe.Open {
		open = netip.AddrPortFrom(open.Addr().Next(), 1)
	}
	for _, test := range []struct {
		wire  Wire
		proto probe.Proto
		want  probe.State
	}{
		{Kernel, probe.TCP, probe.Closed},
		{Answerer, probe.TCP, probe.Open},
		{Sink, probe.TCP, probe.Filtered},
		{Sink, probe.UDP, probe.Closed},
		{Answerer, probe.Echo, probe.Open},
	} {
		if got := (Config{Wire: test.wire}).State(probe.Target{AddrPort: open, Proto: test.proto}); got != test.want {
			t.Errorf("wire %d, %v: %v, want %v", test.wire, test.proto, got, test.want)
		}
	}
}

// TestFloodCheck refuses floods that nobody could pour.
func TestFloodCheck(t *testing.T) {
	for _, f := range []Flood{{}, {Count: 1, Ports: Range(2, 1)}, {Count: 1, To: Range(2, 1)}, {Count: 1000, PerSecond: 1}} {
		if f.check() == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
	if err := (Flood{Count: 1 << 20, PerSecond: 1000000}).check(); err != nil {
		t.Error(err)
	}
}
