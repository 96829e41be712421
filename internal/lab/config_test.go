package lab

import (
	"net/netip"
	"strings"
	"testing"

	"sonde/internal/probe"
)

// TestCheck holds that a Config which no kernel could do is refused before anything is started.
func TestCheck(t *testing.T) {
	for _, test := range []struct {
		c     Config
		words string
	}{
		{Config{}, ""},
		{Config{Rules: []Rule{{Proto: probe.UDP, Do: Reset}}}, "TCP's"},
		{Config{Rules: []Rule{{}, {Ports: Range(2, 1)}}}, "rule 1: ports 2 to 1"},
		{Config{Rules: []Rule{{Do: Lose, Percent: 101}}}, "101 percent"},
		{Config{Rules: []Rule{{Do: Limit}}}, "use Drop"},
		{Config{MTU: 1000}, "MTU of 1000"},
		{Config{MTU: 9000, Wire: Sink}, ""},
		{Config{Wire: Sink + 1}, "wire"},
		{Config{Listen: []Listener{{}}}, ""},
		{Config{Listen: []Listener{{Proto: probe.UDP}}}, "listener 0"},
		{Config{Listen: []Listener{{Proto: probe.Echo, Ports: Port(1)}}}, "pings"},
		{Config{Listen: []Listener{{Ports: Port(1), Proto: probe.UDP, Pause: 1}}}, "datagram"},
		{Config{Listen: []Listener{{Ports: Port(1), Reply: []byte("abc"), Copy: []Copy{{To: 2, Len: 2}}}}}, "room"},
		{Config{Rules: []Rule{{Proto: probe.Echo, Ports: Port(1)}}}, "no ports"},
		{Config{Listen: []Listener{{Ports: Range(2, 1)}}}, "2 to 1"},
		{Config{Listen: []Listener{{Ports: Port(1), Proto: probe.UDP, Do: Abort}}}, "datagram"},
	} {
		err := test.c.check()
		if (err == nil) != (test.words == "") || err != nil && !strings.Contains(err.Error(), test.words) {
			t.Errorf("%+v: %v, want words %q", test.c, err, test.words)
		}
	}
}

// TestStateOfCode knows the code that each family gives to an unreachable port.
func TestStateOfCode(t *testing.T) {
	for _, test := range []struct {
		addr string
		code uint8
		want probe.State
	}{
		{"192.0.2.1", 3, probe.Closed},
		{"192.0.2.1", 4, probe.Filtered},
		{"2001:db8::1", 4, probe.Closed},
		{"2001:db8::1", 3, probe.Filtered},
	} {
		c := Config{Rules: []Rule{{Proto: probe.UDP, Do: Unreach, Code: test.code}}}
		target := probe.Target{AddrPort: netip.AddrPortFrom(netip.MustParseAddr(test.addr), 9), Proto: probe.UDP}
		if got := c.State(target); got != test.want {
			t.Errorf("code %d from %s: %v, want %v", test.code, test.addr, got, test.want)
		}
	}
}
