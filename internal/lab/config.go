package lab

import (
	"fmt"
	"net/netip"
	"time"

	"sonde/internal/probe"
)

// A Config is what is true of one host. The zero value is a Linux host on which nobody
// listens: TCP ports answer with RST, UDP ports with ICMP port unreachable, within the kernel's usual limits.
type Config struct {
	// Local are prefixes that the host answers as a whole, beside its own two addresses, and that are
	// routed to it. It sends ICMPv6 errors about them from its own address, as Linux does.
	Local []netip.Prefix
	// Listen are the services, on all addresses of the host.
	Listen []Listener
	// Rules are its firewall: for what reaches and leaves the host, and for what passes through it.
	// The first rule that decides is the last that a packet meets; one that no rule decides on is accepted.
	Rules []Rule
	// Sysctls are set in the host's namespace: "net.ipv4.icmp_ratelimit" to "0". Only names under net exist there.
	Sysctls map[string]string
	// Delay is how much longer everything takes that the host itself sends, its refusals included; what it passes on
	// as a router is not held up. Up to 65,536 packets are under way at once, further ones are lost.
	Delay time.Duration
	// Double has everything that the host itself sends arrive twice.
	Double bool
	// Wire is what meets TCP before the kernel, listeners and rules do. An Answerer needs, and gets, GRO at the client's end.
	Wire Wire
	// MTU is that of both ends of the link, 0: 1500.
	MTU int
	// GRO gives eth0 a receive queue of the kind that takes frames which an XDP program has redirected (NAPI), as real devices have. Without, and
	// without a Wire, a veth swallows them in silence.
	GRO bool
}

// A link carries packets of at least 1280 bytes (RFC 8200, section 5), and a veth of 65,535 at the most.
const minMTU, maxMTU = 1280, 65535

// NoICMPLimits returns the sysctls that let a host send every ICMP and ICMPv6 error. Without them
// Linux sends one asker 6 at once and then one a second.
func NoICMPLimits() map[string]string {
	return map[string]string{"net.ipv4.icmp_ratemask": "0", "net.ipv6.icmp.ratemask": ""}
}

// A Listener is one service on each of some ports. Each port takes a descriptor of the host's, of which
// there are no more than the hard limit (ulimit -Hn).
//
// A TCP listener without Ports is on all that have no listener of their own, and takes one descriptor: it is a host
// that accepts everything.
type Listener struct {
	Proto  probe.Proto
	Ports  Ports
	Banner []byte // TCP: sent to everyone who connects
	Do     Service
	Reply  []byte // of Answer
	Copy   []Copy // of Answer: what of the question goes into the reply
	// Backlog is how many may wait to be accepted (listen(2); the kernel takes one more), 0: 4096. The kernel drops
	// the SYNs of more.
	Backlog int
	// Pause, of TCP, is how long the listener rests after each connection that it accepts.
	Pause time.Duration
}

// Copy is bytes of a question that its answer repeats, an identifier for one: Len bytes from From, put at To of
// the reply. What the question is too short for is not copied.
type Copy struct{ From, To, Len int }

// Service is what a listener does with who connects, or with a datagram.
type Service uint8

// The services. Hangup and Abort are TCP only.
const (
	Hold   Service = iota // reads and says nothing, until the peer ends it
	Echo                  // sends back what it hears
	Hangup                // closes at once, with FIN
	Abort                 // closes at once, with RST
	Answer                // sends Reply in answer to each datagram, or to each part of a stream as it arrives
)

// Ports is a range of ports, both ends included. The zero value is all ports.
type Ports struct{ First, Last uint16 }

// Port returns the range of one port.
func Port(p uint16) Ports { return Ports{p, p} }

// Range returns the ports from first to last, both included.
func Range(first, last uint16) Ports { return Ports{first, last} }

func (p Ports) all() bool { return p == Ports{} }

func (p Ports) has(port uint16) bool { return p.all() || p.First <= port && port <= p.Last }

// A Rule does something with the packets that it matches. A field's zero value matches all,
// but Proto's, which is TCP.
type Rule struct {
	Proto     probe.Proto  // Echo: ICMP and ICMPv6 echo, requests In and replies Out
	Ports     Ports        // the host's ports, whichever way the packet goes
	Addrs     netip.Prefix // the host's addresses, likewise
	Way       Way
	Flags     Flags // TCP: these are set, whatever the others are
	Do        Action
	Code      uint8  // of Unreach
	Percent   uint8  // of Lose, 0 to 100
	PerSecond uint32 // of Limit
}

// Way is the direction of a packet, as the client sees the host.
type Way uint8

// The ways.
const (
	In   Way = iota // from the client
	Out             // to the client
	Both            // Lose and Limit throw their dice and count for each way apart
)

// Flags are TCP's control bits (RFC 9293, section 3.1).
type Flags uint8

// The flags that rules ask for.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	_
	ACK
)

// Action is what a rule does with a packet.
type Action uint8

// The actions. Count, Lose and Limit leave the packets that survive them to the next rule.
const (
	Count           Action = iota // nothing: Hits tells how many
	Accept                        // lets it pass
	Drop                          // swallows it
	Reset                         // answers with RST; TCP only
	PortUnreach                   // answers ICMP 3/3, ICMPv6 1/4
	HostUnreach                   // answers ICMP 3/1, ICMPv6 1/3
	NetUnreach                    // answers ICMP 3/0, ICMPv6 1/0
	AdminProhibited               // answers ICMP 3/13, ICMPv6 1/1
	Unreach                       // answers ICMP 3/Code, ICMPv6 1/Code
	Lose                          // swallows Percent of them, at random
	Limit                         // swallows those beyond PerSecond (and a burst of 5)
)

var actionNames = [...]string{"count", "accept", "drop", "reset", "port-unreach", "host-unreach", "net-unreach",
	"admin-prohibited", "unreach", "lose", "limit"}

// String returns the action's name in lower case.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// decides reports whether no packet survives the action to meet the next rule.
func (a Action) decides() bool { return a != Count && a != Lose && a != Limit }

// State returns the verdict on target that the configuration deserves when nothing is lost: what a scan must find.
// It looks at listeners and at rules on the way in; a test that uses Out, Lose or Limit knows better itself.
//
// Delays, doubles, a short Backlog and a Pause change no verdict: they are what a scan has to bear.
func (c Config) State(target probe.Target) probe.State {
	if state, ok := c.Wire.state(target); ok {
		return state
	}
	for _, r := range c.Rules {
		if !r.Do.decides() || !r.takes(target) {
			continue
		}
		if r.Do == Accept {
			break
		}
		return r.state(target)
	}
	if target.Proto == probe.Echo {
		return probe.Open
	}
	for _, l := range c.Listen {
		switch {
		case l.Proto != target.Proto || !l.Ports.has(target.Port()):
		case l.Proto == probe.UDP && l.Do == Hold:
			return probe.OpenFiltered
		default:
			return probe.Open
		}
	}
	return probe.Closed
}

// takes reports whether the first packet of a probe meets the rule.
func (r Rule) takes(t probe.Target) bool {
	return r.Way != Out && r.Proto == t.Proto && r.Ports.has(t.Port()) && r.Flags&^SYN == 0 &&
		(!r.Addrs.IsValid() || r.Addrs.Contains(t.Addr()))
}

// state is the verdict on a target whose probes the rule decides.
func (r Rule) state(t probe.Target) probe.State {
	portUnreach := uint8(3) // RFC 792
	if t.Addr().Is6() {
		portUnreach = 4 // RFC 4443, section 3.1
	}
	udp := r.Proto == probe.UDP
	switch {
	case r.Do == Reset, udp && r.Do == PortUnreach, udp && r.Do == Unreach && r.Code == portUnreach:
		return probe.Closed
	case udp && r.Do == Drop:
		return probe.OpenFiltered
	}
	return probe.Filtered
}

// check refuses what no kernel could do.
func (c Config) check() error {
	if c.MTU != 0 && c.MTU < minMTU || c.MTU > maxMTU {
		return fmt.Errorf("an MTU of %d is none for a link with IPv6", c.MTU)
	}
	if c.Wire > Sink {
		return fmt.Errorf("no wire %d", c.Wire)
	}
	for i, r := range c.Rules {
		if err := r.check(); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
	}
	for i, l := range c.Listen {
		if err := l.check(); err != nil {
			return fmt.Errorf("listener %d: %w", i, err)
		}
	}
	return nil
}

func (l Listener) check() error {
	switch {
	case l.Proto == probe.Echo:
		return fmt.Errorf("nobody listens for pings; the kernel answers them")
	case l.Ports.all() && l.Proto == probe.TCP:
	case l.Ports.First == 0 || l.Ports.First > l.Ports.Last:
		return fmt.Errorf("ports %d to %d are none to listen on", l.Ports.First, l.Ports.Last)
	case l.Proto == probe.UDP && (l.Do == Hangup || l.Do == Abort || l.Banner != nil || l.Pause != 0):
		return fmt.Errorf("a datagram can be echoed, answered or held, nothing else")
	}
	for _, c := range l.Copy {
		if c.From < 0 || c.To < 0 || c.Len < 0 || c.To+c.Len > len(l.Reply) {
			return fmt.Errorf("a reply of %d bytes has no room for %+v", len(l.Reply), c)
		}
	}
	return nil
}

// answer returns the reply to a question.
func (l Listener) answer(question []byte) []byte {
	reply := append([]byte(nil), l.Reply...)
	for _, c := range l.Copy {
		if c.From+c.Len <= len(question) {
			copy(reply[c.To:], question[c.From:c.From+c.Len])
		}
	}
	return reply
}

func (r Rule) check() error {
	switch {
	case r.Proto != probe.TCP && (r.Do == Reset || r.Flags != 0):
		return fmt.Errorf("flags and resets are TCP's, not %v's", r.Proto)
	case r.Proto == probe.Echo && !r.Ports.all():
		return fmt.Errorf("pings have no ports")
	case r.Ports.First > r.Ports.Last:
		return fmt.Errorf("ports %d to %d run backwards", r.Ports.First, r.Ports.Last)
	case r.Percent > 100:
		return fmt.Errorf("%d percent is more than all", r.Percent)
	case r.Do == Limit && r.PerSecond == 0:
		return fmt.Errorf("a limit of 0 packets/s; use Drop")
	}
	return nil
}
