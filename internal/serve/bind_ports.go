package serve

import (
	"context"
	"net/netip"

	"sonde/internal/probe"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// BindPorts binds all those of ports that can be bound on the wanted addresses: w's own Port is not used, and of w.TCP and
// w.UDP those are bound that ports has. What could not be bound is in the sockets' Failed. Its error is that of ctx, or, if
// nothing could be bound, the first *BindError; the sockets have all of them even then. The caller closes the sockets.
func BindPorts(ctx context.Context, w Want, ports target.Ports) (*Sockets, error) {
	s := new(Sockets)
	for _, proto := range w.protos() {
		for _, addr := range w.Addrs {
			if err := s.bindEach(ctx, proto, addr, ports, len(w.Addrs) > 1); err != nil {
				s.Close()
				return nil, err
			}
		}
	}
	switch {
	case len(s.TCP)+len(s.UDP) > 0:
		return s, nil
	case len(s.Failed) > 0:
		return s, s.Failed[0]
	case len(s.Missing) > 0:
		return s, s.Missing[0]
	}
	return s, nil
}

// bindEach binds the ports of one protocol on one address. An address that is not there is missing once if there are others.
func (s *Sockets) bindEach(ctx context.Context, proto probe.Proto, addr netip.Addr, ports target.Ports, others bool) error {
	for i := range ports.Len() {
		p, port := ports.At(i)
		if p != proto {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		want := netip.AddrPortFrom(addr, port)
		_, err := s.add(ctx, proto, want)
		switch {
		case err == nil:
		case others && sock.IsNoAddress(err):
			s.Missing = append(s.Missing, bindError(proto, want, err))
			return nil
		default:
			s.Failed = append(s.Failed, bindError(proto, want, err))
		}
	}
	return nil
}
