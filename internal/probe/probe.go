// Package probe holds the words of a scan: what is probed, how, and what was seen.
//
// It contains values and the one interface between those who decide what is probed
// and those who probe. Every other package speaks in these words, so they are the
// field's own: states and reasons are spelled as nmap prints them.
package probe

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Proto is a transport protocol.
type Proto uint8

// The transport protocols.
const (
	TCP Proto = iota
	UDP
	Echo // ICMP echo: asks whether a host is there; its targets have port 1, as every target has one
)

// String returns "tcp", "udp" or "icmp".
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case Echo:
		return "icmp"
	}
	return fmt.Sprintf("proto(%d)", uint8(p))
}

// A Target is one port of one host.
type Target struct {
	netip.AddrPort
	Proto Proto
}

// A Probe is one question to a target. Attempt counts from 1.
type Probe struct {
	Target
	Attempt uint8
	// Control says that the target refused before, and would again: its silence now shows that its host limits
	// how often it refuses.
	Control bool
	// Until is when it is too late to ask; zero: never. A prober that kept the probe waiting beyond it reports it Unsent.
	Until time.Time
}

// Method is a way of asking.
type Method uint8

// The methods of probing.
const (
	Connect  Method = iota // connect(2): a full TCP handshake, no privileges needed
	Datagram               // a UDP payload that fits the port
	Ping                   // an ICMP echo request
	Converse               // a TCP connection that hears what the service says
	SYN                    // half a TCP handshake: the answer to a SYN
)

var methodNames = [...]string{"connect", "udp", "ping", "banner", "syn"}

// String returns the method's name; those that --method takes are spelled as it takes them.
func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return fmt.Sprintf("method(%d)", uint8(m))
}

// State is the verdict on a target.
type State uint8

// The states. Unsent is no verdict: something of ours kept the probe from being
// sent (no descriptors, no route, a firewall of our own), and says nothing of the target.
const (
	Unsent State = iota
	Filtered
	OpenFiltered
	Closed
	Open
)

var stateNames = [...]string{"unsent", "filtered", "open|filtered", "closed", "open"}

// String returns the state as nmap prints it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Reason is what was seen, or what was not.
type Reason uint8

// The reasons. LocalError belongs to Unsent only; Result.Err says which error it was.
const (
	NoResponse Reason = iota
	SynAck
	Reset
	ConnRefused
	PortUnreach
	AdminProhibited
	HostProhibited
	NetProhibited
	HostUnreach
	NetUnreach
	ProtoUnreach
	TimeExceeded
	UDPResponse
	EchoReply
	NeighborResponse // the link's own protocol (ARP, NDP) found the host
	NoNeighbor       // silence, with its cause: nobody on the link has the address
	RateLimited      // silence that proves nothing: the host was seen to limit its refusals
	Middlebox        // an answer that proves nothing: ports on which nothing listens answer alike
	SplitHandshake   // a SYN came back, without an acknowledgement: weak, for nothing in it says what it answers
	LocalError
)

var reasonNames = [...]string{"no-response", "syn-ack", "reset", "conn-refused", "port-unreach", "admin-prohibited",
	"host-prohibited", "net-prohibited", "host-unreach", "net-unreach", "proto-unreach", "time-exceeded", "udp-response",
	"echo-reply", "neighbor-response", "no-neighbor", "rate-limited", "middlebox", "split-handshake-syn", "local-error"}

// String returns the reason in nmap's words.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Words returns the reason in plain words, for sentences.
func (r Reason) Words() string {
	switch r {
	case NoResponse:
		return "no response"
	case ConnRefused:
		return "connection refused"
	case PortUnreach:
		return "port unreachable"
	case AdminProhibited:
		return "administratively prohibited"
	case HostProhibited:
		return "host prohibited"
	case NetProhibited:
		return "network prohibited"
	case HostUnreach:
		return "host unreachable"
	case NetUnreach:
		return "network unreachable"
	case ProtoUnreach:
		return "protocol unreachable"
	case TimeExceeded:
		return "time exceeded"
	case NoNeighbor:
		return "no neighbour answers for the address on the link"
	case RateLimited:
		return "no reply; this host rate-limits its refusals"
	case Middlebox:
		return "ports on which nothing listens answer alike"
	case SplitHandshake:
		return "a SYN without an acknowledgement; weak evidence"
	}
	return r.String()
}

// Silent reports whether the reason is one for silence: nobody answered.
func (r Reason) Silent() bool { return r == NoResponse || r == NoNeighbor || r == RateLimited }

// A Result is what one probe brought to light.
type Result struct {
	Target  Target
	Method  Method
	State   State
	Reason  Reason
	From    netip.Addr    // who said so, when it was not the target itself: a router, by ICMP
	ICMP    ICMP          // the message, when Reason came by one
	TTL     uint8         // of the packet that answered (IPv6: its hop limit); 0 when it cannot be told
	Attempt uint8         // the probe that was answered, from 1
	RTT     time.Duration // zero when it cannot be told
	Time    time.Time     // when it was seen
	Err     error         // with Unsent: what was missing here
	Reply   []byte        // the first bytes that were heard, if any; the result owns them
	Control bool          // it answers a control (Probe.Control), and is no news
}

// Due hands out probes as they fall due. Several goroutines may call it at once.
type Due interface {
	// Next fills buf with the next probes, waits for at least one, and returns how many.
	// It returns false when there will be no more, or ctx is done. A caller asks for as many as it can send now.
	Next(ctx context.Context, buf []Probe) (n int, ok bool)
}
