package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go4.org/netipx"
)

// prefixes is a flag that names addresses and networks, separated by commas; given again it adds to them.
type prefixes struct {
	set   *netipx.IPSet // nil: not given
	words []string
}

// String implements pflag.Value.
func (p *prefixes) String() string { return strings.Join(p.words, ",") }

// Type implements pflag.Value.
func (p *prefixes) Type() string { return "PREFIX,..." }

// Set implements pflag.Value.
func (p *prefixes) Set(list string) error {
	var b netipx.IPSetBuilder
	if p.set != nil {
		b.AddSet(p.set)
	}
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		prefix, err := parsePrefix(word)
		if err != nil {
			return err
		}
		b.AddPrefix(prefix)
		p.words = append(p.words, word)
	}
	set, err := b.IPSet()
	p.set = set
	return err
}

const prefixForms = "write an address or a network: 192.0.2.7, 10.0.0.0/8, 2001:db8::/32"

// parsePrefix reads an address or a network. An IPv4 address in IPv6 clothes is that IPv4 address, as everywhere.
func parsePrefix(word string) (netip.Prefix, error) {
	if word == "" {
		return netip.Prefix{}, errors.New("it names nobody; " + prefixForms)
	}
	if addr, err := netip.ParseAddr(word); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q has a zone; an address counts on whatever interface: write %v", word, addr.WithZone(""))
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no address and no network; %s", word, prefixForms)
	}
	if mapped := prefix.Addr(); mapped.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(mapped.Unmap(), prefix.Bits()-96)
	}
	if whole := prefix.Masked(); whole != prefix {
		return netip.Prefix{}, fmt.Errorf("%q is an address in a network: write %v for the network or %v for the address", word, whole, prefix.Addr())
	}
	return prefix, nil
}
