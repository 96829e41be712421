package probe

// ICMP is a message's type and code as RFC 792 and RFC 4443 number them. The zero
// value means none: an echo reply (type 0) is never a reason.
type ICMP struct{ Type, Code uint8 }

// ICMP types that say why a packet did not arrive.
const (
	icmpUnreachable  = 3  // RFC 792
	icmpTimeExceeded = 11 // RFC 792
	icmp6Unreachable = 1  // RFC 4443 section 3.1
	icmp6TimeExceed  = 3  // RFC 4443 section 3.3
)

// unreachable4 holds the reason for each code of ICMP type 3 (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1).
var unreachable4 = [...]Reason{
	0: NetUnreach, 1: HostUnreach, 2: ProtoUnreach, 3: PortUnreach,
	4: HostUnreach, 5: HostUnreach, 6: NetUnreach, 7: HostUnreach, 8: HostUnreach,
	9: NetProhibited, 10: HostProhibited, 11: NetUnreach, 12: HostUnreach,
	13: AdminProhibited, 14: AdminProhibited, 15: AdminProhibited,
}

// unreachable6 holds the reason for each code of ICMPv6 type 1 (RFC 4443 section 3.1).
var unreachable6 = [...]Reason{
	0: NetUnreach, 1: AdminProhibited, 2: HostUnreach, 3: HostUnreach,
	4: PortUnreach, 5: AdminProhibited, 6: AdminProhibited,
}

// ReasonOf returns what an ICMP (or, with v6, an ICMPv6) error says about a probe. It
// returns false for messages that say nothing about reachability.
func ReasonOf(m ICMP, v6 bool) (Reason, bool) {
	unreachable, unreachableType, exceededType := unreachable4[:], uint8(icmpUnreachable), uint8(icmpTimeExceeded)
	if v6 {
		unreachable, unreachableType, exceededType = unreachable6[:], icmp6Unreachable, icmp6TimeExceed
	}
	switch {
	case m.Type == exceededType:
		return TimeExceeded, true
	case m.Type == unreachableType && int(m.Code) < len(unreachable):
		return unreachable[m.Code], true
	}
	return NoResponse, false
}
