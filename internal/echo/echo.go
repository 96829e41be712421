// Package echo provides the server of RFC 862: it sends back what it receives, over TCP and UDP.
//
// Over TCP bytes, order and count are kept for any chunking; a client that does not read is
// not read from, so memory is bounded. Over UDP a datagram goes back to its sender, from the
// address it was sent to, unless the guard says that no client can have meant it: see guard.
// Nothing is logged; what happened goes to the Server's callbacks.
package echo

import (
	"context"
	"net"
	"net/netip"

	"sonde/internal/serve"
)

// DefaultRatePerNet is the number of UDP datagrams a second that one network is answered.
const DefaultRatePerNet = 10_000

// A Server echoes. The zero value serves without limits of its own but the UDP guard's.
type Server struct {
	serve.Limits
	Event func(serve.Event) // tells of TCP connections, from one goroutine at a time per ServeTCP; may be nil

	AllowLowPorts bool         // answer UDP sources with a port below 1024, which are servers' more often than clients'
	RatePerNet    int          // UDP datagrams a second and per /24 or /64, loopback exempt; 0: DefaultRatePerNet
	Dropped       func(Drop)   // tells what was not echoed over UDP, from one goroutine at a time per ServeUDP; may be nil
	Totals        func(Totals) // tells once what a ServeUDP did, when it ends; may be nil
}

// ServeTCP echoes on the listeners and closes them; it returns as serve.Server.Serve does.
func (s *Server) ServeTCP(ctx context.Context, listeners ...net.Listener) error {
	server := serve.Server{Limits: s.Limits, Handle: echo, Event: s.Event}
	return server.Serve(ctx, listeners...)
}

// echo answers one connection to its end. While a write waits nothing is read.
func echo(c *serve.Conn) error {
	for {
		data, err := c.Next()
		if err != nil {
			return err
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
	}
}

// Totals are the datagrams that one UDP socket took in and sent back, in all.
type Totals struct{ In, Out uint64 }

// A Drop is a number of datagrams that were not echoed. The first is told at once, the others
// once per serve.NoticeInterval.
type Drop struct {
	Why   Why
	Count int
	Peer  netip.AddrPort // the last of them came from here; not valid if nobody is known
	Err   error          // with Unsent and Unread: the system's reason
}

// Why says why a datagram was not echoed.
type Why uint8

// The reasons.
const (
	echoed    Why = iota
	ToMany        // sent to a broadcast or multicast address (RFC 1122 section 4.1.3.6)
	BadSource     // from an address that nobody can be answered at
	OwnSource     // from our own address and port
	LowPort       // from a port below 1024
	TooMany       // its network's rate is spent
	Looping       // the peer returns what it is sent, again and again
	Truncated     // longer than the buffer
	Unsent        // the system would not send it
	Unread        // the system would not hand it over
	reasons
)

// String says it in words that fit after "datagrams".
func (w Why) String() string {
	return [reasons]string{
		"echoed",
		"sent to a broadcast or multicast address",
		"with a source that cannot be answered",
		"with our own address as source",
		"from a port below 1024",
		"over the rate of their network",
		"from a peer that returns what it is sent, muted for a second",
		"longer than the buffer",
		"that could not be sent back",
		"that could not be read",
	}[w]
}
