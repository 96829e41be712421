package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// portTries is how many free ports Bind tries before it gives up on one that is free everywhere.
const portTries = 32

// A Want says what to bind: one port on each address, for TCP, UDP or both.
type Want struct {
	Addrs    []netip.Addr
	Port     uint16 // 0: one that is free for all of them
	TCP, UDP bool
}

// Sockets are what Bind bound. Missing has each socket that is not there because this machine has no such address, when
// it has another of those wanted; Failed has those of BindPorts that could not be bound for another reason.
type Sockets struct {
	TCP     []net.Listener
	UDP     []*sock.UDP
	Missing []error
	Failed  []*BindError
}

// A BindError says which address could not be bound.
type BindError struct {
	Proto probe.Proto
	Addr  netip.AddrPort
	Err   error
}

// Error tells the address and why.
func (e *BindError) Error() string { return fmt.Sprintf("bind %v %v: %v", e.Proto, e.Addr, e.Err) }

// Unwrap returns the system's error.
func (e *BindError) Unwrap() error { return e.Err }

// Bind binds all that is wanted or nothing. Its error is a *BindError. The caller closes the sockets.
func Bind(ctx context.Context, w Want) (*Sockets, error) {
	for try := 1; ; try++ {
		s := new(Sockets)
		err := s.bind(ctx, w)
		if err == nil {
			return s, nil
		}
		s.Close()
		if w.Port != 0 || try == portTries || !sock.IsInUse(err) {
			return nil, err
		}
	}
}

// Close closes every socket. Of nil there is none.
func (s *Sockets) Close() {
	if s == nil {
		return
	}
	for _, l := range s.TCP {
		_ = l.Close()
	}
	for _, u := range s.UDP {
		_ = u.Close()
	}
}

// bind binds one after the other; the first that is bound settles the port.
func (s *Sockets) bind(ctx context.Context, w Want) error {
	port := w.Port
	for _, proto := range w.protos() {
		for _, addr := range w.Addrs {
			want := netip.AddrPortFrom(addr, port)
			got, err := s.add(ctx, proto, want)
			switch {
			case err == nil:
				port = got.Port()
			case len(w.Addrs) > 1 && sock.IsNoAddress(err):
				s.Missing = append(s.Missing, bindError(proto, want, err))
			default:
				return bindError(proto, want, err)
			}
		}
	}
	if len(s.TCP)+len(s.UDP) == 0 && len(s.Missing) > 0 {
		return s.Missing[0]
	}
	return nil
}

func (w Want) protos() (ps []probe.Proto) {
	if w.TCP {
		ps = append(ps, probe.TCP)
	}
	if w.UDP {
		ps = append(ps, probe.UDP)
	}
	return ps
}

func (s *Sockets) add(ctx context.Context, proto probe.Proto, addr netip.AddrPort) (netip.AddrPort, error) {
	if proto == probe.UDP {
		u, err := sock.ListenUDP(addr)
		if err != nil {
			return netip.AddrPort{}, err
		}
		s.UDP = append(s.UDP, u)
		return u.LocalAddr(), nil
	}
	network := "tcp6" // a wildcard is of its own family only, as in sock.ListenUDP
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // one path, so that a FIN and a RST mean what RFC 9293 says
	l, err := lc.Listen(ctx, network, addr.String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.TCP = append(s.TCP, l)
	return addrPort(l.Addr()), nil
}

// bindError keeps the system's reason; the address is told once.
func bindError(proto probe.Proto, addr netip.AddrPort, err error) *BindError {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &BindError{Proto: proto, Addr: addr, Err: err}
}
