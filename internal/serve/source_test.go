package serve

import (
	"net"
	"net/netip"
	"testing"
)

// from is a connection whose peer is said to be another.
type from struct {
	net.Conn
	peer string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.peer)) }

// TestMaxPerSourceCountsNetworksOfIPv6: who has one address of a /64 has them all. Of IPv4 each address counts.
func TestMaxPerSourceCountsNetworksOfIPv6(t *testing.T) {
	r := newRun(&Server{Limits: Limits{MaxPerSource: 1}})
	for _, c := range []struct {
		peer     string
		admitted bool
	}{
		{"[2001:db8:1:2::1]:1", true},
		{"[2001:db8:1:2:ffff::2]:1", false},
		{"[2001:db8:1:3::1]:1", true},
		{"192.0.2.1:1", true},
		{"[::ffff:192.0.2.1]:1", false},
		{"192.0.2.2:1", true},
	} {
		conn, other := net.Pipe()
		if _, admitted := r.admit(from{conn, c.peer}); admitted != c.admitted {
			t.Errorf("%s: admitted %v", c.peer, admitted)
		}
		_, _ = conn.Close(), other.Close()
	}
	r.leave(netip.MustParseAddr("2001:db8:1:2:ffff::2"))
	conn, other := net.Pipe()
	if _, admitted := r.admit(from{conn, "[2001:db8:1:2::3]:1"}); !admitted {
		t.Error("there is no room after one of the network has left")
	}
	_, _ = conn.Close(), other.Close()
}
