// Package xdp sends the SYNs of a scan, and hears what answers them, in the kernel, before its network stack begins.
//
// An XDP program writes each probe into a frame and redirects it to an interface (BPF_PROG_RUN with live frames, Linux
// 5.18); the same program, attached to that interface, takes out the answers that bring the probe's cookie back, closes what
// opened by a RST, and leaves all other packets to the kernel. User space hands over targets, a batch at a time, and reads
// answers from a ring. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root, and an interface framed as Ethernet whose driver
// sends what is redirected to it. The kernel takes the program off the interface when the process ends, however it ends.
//
// An answer for which the ring has no room goes up the stack like any packet: whoever listens there too (sock.Raw) hears it.
package xdp

import (
	"errors"
	"net/netip"
	"time"
)

// Config fixes what all probes of a scan have in common.
type Config struct {
	Key       [2]uint64 // of the cookies; fresh for each scan
	FirstPort uint16    // probes come from this port
	Ports     uint16    // and those behind it: a power of two of them, chosen by the cookie
	Batch     int       // targets in one call of Send at the most; 0: 16,384
	Ring      int       // bytes of the ring that answers wait in, a power of two; 0: 32 MB
}

const (
	defaultBatch = 1 << 14
	defaultRing  = 32 << 20
	mostRoutes   = 1 << 10
)

// A Route is a way out, and all that probes on it have in common.
type Route struct {
	Interface int     // its index
	From, To  [6]byte // link addresses: the interface's own, and the next hop's
	Packet    []byte  // a SYN, from its IP header on, whose varying fields are 0
	// The sums of the 16-bit words of Packet, as they stand in memory: of the IPv4 header, and of the TCP header with its
	// pseudo header.
	IPSum, TCPSum uint32
}

// A Target is a probe to be sent.
type Target struct {
	netip.AddrPort
	Cookie  uint64 // SipHash-2-4, by the Config's key, of the bytes of the address and then of the port
	Route   uint16 // as Engine.Use named it
	Attempt uint8
}

// An Answer is a TCP segment that brought the cookie of a probe back.
type Answer struct {
	From      netip.AddrPort // the target
	Interface int            // it came by
	SynAck    bool           // or else a reset
	TTL       uint8
	Attempt   uint8         // of the probe that it answers, modulo 8
	RTT       time.Duration // zero when it cannot be told
	Time      time.Time
}

// Errors that say why an interface cannot be used.
var (
	// ErrSwallows: the driver takes frames that are redirected to it, and they never leave.
	ErrSwallows = errors.New("the driver does not send redirected frames")
	// ErrTaken: somebody else's XDP program is attached.
	ErrTaken = errors.New("another XDP program is attached")
	// ErrTooMany: there is no room for one more route.
	ErrTooMany = errors.New("too many next hops")
	// ErrTooOld: the kernel does not run programs with live frames.
	ErrTooOld = errors.New("live frames need Linux 5.18")
)

// State says how far an Engine is.
type State struct {
	Sent      time.Time // when the last probe left that was handed over: now, while any is still to leave
	Heard     time.Time // all answers that came before that were reported
	Dropped   uint64    // packets that the interfaces in use had no room for, in or out
	Strangers uint64    // segments to our ports without a cookie
	Overflows uint64    // answers that went up the stack because the ring had no room
}
