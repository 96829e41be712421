// Package echo provides the server of RFC 862: it sends back what it receives, over TCP and UDP.
//
// Over TCP bytes, order and count are kept for any chunking; a client that does not read is
// not read from, so memory is bounded. Over UDP a datagram goes back to its sender, from the
// address it was sent to, unless the guard says that no client can have meant it: see guard.
// Nothing is logged; what happened goes to the Server's callbacks.
package echo

import (
	"context"
	"crypto/tls"
	"net"

	"sonde/internal/serve"
)

// DefaultRatePerNet is the number of UDP datagrams a second that one network is answered.
const DefaultRatePerNet = 10_000

// A Server echoes. The zero value serves without limits of its own but the UDP guard's.
type Server struct {
	serve.Limits
	Event  func(serve.Event) // tells of TCP connections, from one goroutine at a time per ServeTCP; may be nil
	Counts *serve.Counts     // adds up what happens over TCP; may be nil
	TLS    *tls.Config       // if set, TCP is TLS
	Faults *Faults           // what is done wrong on purpose; nil: nothing

	AllowLowPorts bool         // answer UDP sources with a port below 1024, which are servers' more often than clients'
	RatePerNet    int          // UDP datagrams a second and per /24 or /64, loopback exempt; 0: DefaultRatePerNet
	Dropped       func(Drop)   // tells what was not echoed over UDP, from one goroutine at a time per ServeUDP; may be nil
	Totals        func(Totals) // tells what came to each socket of a ServeUDP, if anything, when it ends; may be nil
	UDPCounts     *UDPCounts   // counts what ServeUDP does; nil: nobody
}

// ServeTCP echoes on the listeners and closes them; it returns as serve.Server.Serve does.
func (s *Server) ServeTCP(ctx context.Context, listeners ...net.Listener) error {
	server := serve.Server{Limits: s.Limits, Answer: same, TLS: s.TLS, Event: s.Event, Counts: s.Counts}
	if s.Faults.touchesTCP() {
		server.Handle = s.Faults.echo
	}
	return server.Serve(ctx, listeners...)
}

// same is the answer of RFC 862: what came.
func same(data []byte) []byte { return data }
