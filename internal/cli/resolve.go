package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"sonde/internal/target"
)

// A family is what -4 and -6 allow.
type family struct{ only4, only6 bool }

func (f family) allows(a netip.Addr) bool {
	return a.Is4() && !f.only6 || a.Is6() && !f.only4
}

func (f family) String() string {
	switch {
	case f.only4:
		return "IPv4"
	case f.only6:
		return "IPv6"
	}
	return "IP"
}

// lookUp returns the addresses of a name that f allows, IPv4 before IPv6, each once.
func (f family) lookUp(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := f.lookUpSorted(ctx, name)
	slices.SortStableFunc(addrs, byFamily)
	return addrs, err
}

// lookUpSorted returns them in the resolver's order: those first that this machine can reach best (RFC 6724).
func (f family) lookUpSorted(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("hostname %s could not be resolved: %w", name, dnsReason(err))
	}
	return f.choose(name, addrs)
}

// byFamily sorts IPv4 before IPv6.
func byFamily(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }

// Addresses asked for at once: resolvers refuse who asks too fast.
const lookUpsAtOnce = 16

// An answer is what came of looking a name up.
type answer struct {
	addrs []netip.Addr
	err   error
	told  bool // in found
}

// lookUpAll looks every name up once, several at a time.
func (f family) lookUpAll(ctx context.Context, specs []target.Spec) (map[string]*answer, error) {
	answers := map[string]*answer{}
	var g errgroup.Group
	g.SetLimit(lookUpsAtOnce)
	for _, spec := range specs {
		if spec.Name == "" || answers[spec.Name] != nil {
			continue
		}
		a := &answer{}
		answers[spec.Name] = a
		g.Go(func() error {
			a.addrs, a.err = f.lookUp(ctx, spec.Name)
			return nil
		})
	}
	_ = g.Wait() // each answer has its own error
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return answers, nil
}

// choose is what lookUpSorted makes of the addresses of a name.
func (f family) choose(name string, addrs []netip.Addr) ([]netip.Addr, error) {
	var allowed []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); f.allows(a) && !slices.Contains(allowed, a) {
			allowed = append(allowed, a)
		}
	}
	if len(allowed) == 0 {
		return nil, fmt.Errorf("hostname %s has no %s address", name, f)
	}
	return allowed, nil
}

// dnsReason leaves out what net says of the name and the server: the name is told already.
func dnsReason(err error) error {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return err
	case dns.IsNotFound:
		return errors.New("no such host")
	case dns.IsTimeout:
		return errors.New("the name servers did not answer in time")
	}
	return errors.New(dns.Err)
}
