package probe

import "testing"

func TestReasonOf(t *testing.T) {
	for _, c := range []struct {
		icmp ICMP
		v6   bool
		want Reason
		ok   bool
	}{
		{ICMP{3, 0}, false, NetUnreach, true},
		{ICMP{3, 1}, false, HostUnreach, true},
		{ICMP{3, 2}, false, ProtoUnreach, true},
		{ICMP{3, 3}, false, PortUnreach, true},
		{ICMP{3, 9}, false, NetProhibited, true},
		{ICMP{3, 10}, false, HostProhibited, true},
		{ICMP{3, 13}, false, AdminProhibited, true},
		{ICMP{3, 15}, false, AdminProhibited, true},
		{ICMP{3, 16}, false, NoResponse, false},
		{ICMP{11, 0}, false, TimeExceeded, true},
		{ICMP{0, 0}, false, NoResponse, false},
		{ICMP{8, 0}, false, NoResponse, false},
		{ICMP{1, 0}, true, NetUnreach, true},
		{ICMP{1, 1}, true, AdminProhibited, true},
		{ICMP{1, 3}, true, HostUnreach, true},
		{ICMP{1, 4}, true, PortUnreach, true},
		{ICMP{1, 6}, true, AdminProhibited, true},
		{ICMP{1, 7}, true, NoResponse, false},
		{ICMP{3, 0}, true, TimeExceeded, true},
		{ICMP{2, 0}, true, NoResponse, false}, // packet too big says nothing of a port
	} {
		if got, ok := ReasonOf(c.icmp, c.v6); got != c.want || ok != c.ok {
			t.Errorf("ReasonOf(%v, v6 %v) = %v, %v; want %v, %v", c.icmp, c.v6, got, ok, c.want, c.ok)
		}
	}
}

// Every value has its word: nothing is printed as a number.
func TestWords(t *testing.T) {
	for s := Unsent; s <= Open; s++ {
		if s.String() == "" || s.String()[0] == 's' && s != Unsent {
			t.Errorf("state %d is %q", s, s)
		}
	}
	seen := map[string]bool{}
	for r := NoResponse; r <= LocalError; r++ {
		if seen[r.String()] || r.String() == "" {
			t.Errorf("reason %d is %q", r, r)
		}
		seen[r.String()] = true
	}
	if LocalError.String() != "local-error" || HostProhibited.String() != "host-prohibited" {
		t.Error("the reasons' names are out of step")
	}
}
