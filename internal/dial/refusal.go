package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A Refusal is the network's word that a packet did not arrive.
type Refusal struct {
	sock.ICMPError
	to    netip.AddrPort // of the packet
	known bool           // the message itself was read, not only the errno it became
}

// PortUnreachable reports whether a host answered that nobody listens there, which is
// UDP's counterpart to a reset. Anything else kept the datagram from reaching it.
func (r Refusal) PortUnreachable() bool {
	return !r.known || !r.Local && r.reason() == probe.PortUnreach
}

func (r Refusal) reason() probe.Reason {
	reason, ok := probe.ReasonOf(probe.ICMP{Type: r.Type, Code: r.Code}, r.From.Is6())
	if !ok {
		return probe.NoResponse
	}
	return reason
}

// NoNeighbor reports whether this machine found nobody on the link to hand the packet to.
func (r Refusal) NoNeighbor() bool { return r.Local && r.reason() == probe.HostUnreach }

// String says what happened and who said so.
func (r Refusal) String() string {
	switch {
	case r.Local:
		return "the datagram did not arrive: " + r.ownWords()
	case r.PortUnreachable():
		return "nobody listens there: " + r.message()
	}
	return "the datagram did not arrive: " + r.message()
}

// ownWords tells what this machine says of its own packet.
func (r Refusal) ownWords() string {
	if r.NoNeighbor() {
		return fmt.Sprintf("%v, or the gateway to it, does not answer on the link (no neighbour: ARP or neighbour discovery failed)", r.to.Addr())
	}
	return ownFirewall(r.to)
}

// OwnFirewall words the errno EPERM of a packet to that address.
func (t *Trouble) OwnFirewall() string { return ownFirewall(t.to()) }

func ownFirewall(to netip.AddrPort) string {
	return fmt.Sprintf("this machine's own firewall refused to send to %v", to)
}

// message tells the ICMP message and its sender.
func (r Refusal) message() string {
	reason := r.reason()
	what := reason.Words()
	switch {
	case !r.known:
		what = probe.PortUnreach.Words()
	case reason == probe.NoResponse: // a message that says nothing of reachability
		what = r.Errno.Error()
	}
	from := "an unknown sender (this system does not tell)"
	if r.From.IsValid() {
		from = r.From.String()
	}
	return "ICMP " + what + " from " + from
}

// Trouble tells a refusal from an error of our own. Both halves of a session meet the
// same socket's errors, each at its own time; so what one takes off the error queue
// must explain what the other is still to return.
type Trouble struct {
	conn *net.UDPConn

	mu   sync.Mutex
	last Refusal
}

// NewTrouble watches conn, a connected socket of which it reads the error queue and nothing else.
func NewTrouble(conn *net.UDPConn) *Trouble { return &Trouble{conn: conn} }

// Explain returns the refusal behind an error of a read or a write, or false when it is
// none.
func (t *Trouble) Explain(err error) (Refusal, bool) {
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno == syscall.EPERM { // our own firewall's is the write's error
		return Refusal{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := false
	for {
		e, ok := sock.NextError(t.conn)
		if !ok {
			break
		}
		if e.Type != 0 || e.Code != 0 { // zeros are an error of this machine, not a message
			t.last, fresh = Refusal{ICMPError: e, to: t.to(), known: true}, true
		}
	}
	switch {
	case fresh, t.last.known && t.last.Errno == errno:
		return t.last, true
	case sock.EndingOf(err) == sock.Reset:
		return Refusal{ICMPError: sock.ICMPError{Errno: errno}}, true
	}
	return Refusal{}, false
}

// to is the peer.
func (t *Trouble) to() netip.AddrPort {
	to := t.conn.RemoteAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
}
