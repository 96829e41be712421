package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"sonde/internal/dial"
	"sonde/internal/safetext"
	"sonde/internal/sock"
)

// Phases are how long the parts of making a connection took. What there was none of is 0.
type Phases struct {
	Connect time.Duration // TCP's handshake
	TLS     time.Duration // that of TLS after it
}

// A Dial makes a connection: a *net.UDPConn, or a stream. Its time-out is its own.
type Dial func(ctx context.Context) (net.Conn, Phases, error)

// A Plan says what to measure. Dial, Connections, Timeout and, but for Knock, Size are needed.
type Plan struct {
	Dial        Dial
	Size        int     // bytes of a payload, from HeaderSize on
	Connections int     // at the same time
	Rate        float64 // probes a second over all connections, sent by a timetable; 0: each when there is room
	Window      int     // without Rate: probes in flight on a connection; 0 is 1

	Count    uint64        // probes in all; 0: no limit
	Duration time.Duration // how long probes are sent; 0: no limit
	Timeout  time.Duration // after which a probe is lost

	Seed   uint64 // of the payloads
	Abrupt bool   // end connections by a reset, which leaves no TIME_WAIT behind

	Event    func(Event)  // tells of connections, refusals and damage; may be nil
	Reply    func(Reply)  // tells of every probe, when its fate is known; may be nil
	Progress func(Counts) // tells once a second how far it is; may be nil
}

// most is how many probes there are at most.
func (p *Plan) most() uint64 {
	n := p.Count
	if n == 0 {
		n = 1<<63 - 1
	}
	if p.Duration > 0 && p.Rate > 0 {
		n = min(n, max(1, uint64(p.Duration.Seconds()*p.Rate)))
	}
	return n
}

func (p *Plan) window() int { return max(1, p.Window) }

// EventKind is what an Event tells of.
type EventKind uint8

// The kinds of events.
const (
	Opened  EventKind = iota // a connection stands, for the first time or again
	NotOpen                  // there is none: Err is Dial's; it is tried again each second
	Broken                   // a connection ended before its time, for Err; Lost probes were in flight. It is made again
	Refused                  // Err is the word of the network, or of our own firewall, that datagrams do not arrive
	Damaged                  // Err is a *Damage
)

// An Event is what happened to a connection.
type Event struct {
	Kind          EventKind
	Conn          int // its number, from 0
	Phases        Phases
	Local, Remote net.Addr // with Opened
	Lost          uint64
	Err           error
}

// A Reply is what became of a probe.
type Reply struct {
	Conn      int
	Seq       uint64
	Fate      Fate
	Latency   time.Duration // since it was to be sent, of what came back whole
	Service   time.Duration // since it was sent; with Late and Doubled 0 if that is so long ago that it is forgotten
	Phases    Phases        // of its connection (Knock)
	Reordered bool
	Damage    *Damage // with Corrupt
	Err       error   // with Unsent and Lost: why not, or why nothing more was waited for, a connection's end or a *RefusedError; nil: the time-out
}

// Why a probe was not sent, beside an error of this machine.
var (
	ErrDown = errors.New("the connection was down")
	ErrHeld = errors.New("the peer did not read, and there was no more room")
	ErrFull = fmt.Errorf("%d connections are in the making, and no more at once", mostKnocks)
)

// A Report is what a run found.
type Report struct {
	Counts
	Latency, Service        *Distribution // of what came back whole, late or not. Without Rate both are one
	Connect, TLS, FirstByte *Distribution // of connections; the first byte counts from the first probe
	Jitter                  time.Duration // RFC 3550 section 6.4.1, mean over the connections
	JitterOf                int           // how many connections it is the mean of; 0: there is none
	Elapsed                 time.Duration // from the first probe to the last answer or time-out
	Asked                   float64       // probes a second: the Plan's Rate
	Achieved                float64       // that were sent
	Stalled                 time.Duration // how long this process slept while it should have sent
	Held                    time.Duration // how long in all the peer did not take what was to be sent
	Dropped                 uint64        // datagrams that this machine had no room for (Linux)
	Bytes                   uint64        // that came back whole
	Closed                  int           // connections that the peer ended before their time, once or several times
	Down                    int           // connections that were down at the end
	Interrupted             bool          // it ended before it was over
}

// NewReport returns an empty one.
func NewReport() *Report {
	return &Report{Latency: NewDistribution(), Service: NewDistribution(), Connect: NewDistribution(), TLS: NewDistribution(), FirstByte: NewDistribution()}
}

// Behind reports whether this machine sent slower than it was asked to. What it could not send because a connection was
// down, or the peer did not read, is not its doing.
func (r *Report) Behind() bool {
	sent := r.Probes - r.Unsent
	if r.Asked == 0 || sent < fewest || r.Held > 0 {
		return false
	}
	return r.Achieved*float64(r.Probes)/float64(sent) < fastEnough*r.Asked
}

// A RefusedError is the network's word that a datagram did not arrive.
type RefusedError struct{ dial.Refusal }

// Error says what happened and who said so.
func (e *RefusedError) Error() string { return e.String() }

// A StrangerError says that the server sends something else than what it got: it is no echo server.
type StrangerError struct{ Got []byte }

// Error shows what it sent.
func (e *StrangerError) Error() string {
	return fmt.Sprintf(`what came back is nothing that was sent: "%s"`, safetext.Append(nil, e.Got))
}

// A HangupError says that every connection was ended before anything came back.
type HangupError struct{ Err error }

// Error says how.
func (e *HangupError) Error() string {
	switch sock.EndingOf(e.Err) {
	case sock.ByPeer:
		return "the peer closed the connection (FIN) before anything came back"
	case sock.Reset:
		return "the peer reset the connection (RST) before anything came back"
	}
	return fmt.Sprintf("the connection ended before anything came back: %v", e.Err)
}

// Unwrap returns what ended the last of them.
func (e *HangupError) Unwrap() error { return e.Err }
