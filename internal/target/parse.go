package target

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go4.org/netipx"

	"sonde/internal/probe"
)

// A Spec is one target as a user wrote it: a name still to be resolved, or the addresses
// from First to Last.
type Spec struct {
	Text        string
	Name        string // set for a host name only
	First, Last netip.Addr
	Ports       Ports // its own, if any were written behind it
}

// ParseTarget reads one target:
//
//	example.com  192.0.2.7  2001:db8::7  fe80::1%eth0   a name or an address
//	192.0.2.0/24  2001:db8::/120                        every address of a prefix
//	192.0.2.1-20  192.0.2.1-192.0.2.20                  a range (IPv6: both ends whole)
//
// each of them, with IPv6 in brackets, followed by its own ports if it has any:
// example.com:22,80-90  [::1]:22  192.0.2.0/24:443  localhost:U:53
//
// proto is that of ports which name none.
//
// A hyphen makes a range only behind an address, so my-host stays a name.
func ParseTarget(text string, proto probe.Proto, services Services) (Spec, error) {
	host, list, hasPorts, err := splitPorts(text)
	if err != nil {
		return Spec{}, fmt.Errorf("target %q: %w", text, err)
	}
	spec := Spec{Text: text}
	if spec.First, spec.Last, err = parseRange(host); err != nil {
		return Spec{}, fmt.Errorf("target %q: %w", text, err)
	}
	if !spec.First.IsValid() {
		if err := checkName(host); err != nil {
			return Spec{}, fmt.Errorf("target %q: %w", text, err)
		}
		spec.Name = strings.TrimSuffix(host, ".")
	}
	if hasPorts {
		if spec.Ports, err = ParsePorts(list, proto, services); err != nil {
			return Spec{}, fmt.Errorf("target %q: %w", text, err)
		}
	}
	return spec, nil
}

// splitPorts cuts a target into what is before and behind the colon of its ports.
func splitPorts(text string) (host, ports string, hasPorts bool, err error) {
	if strings.HasPrefix(text, "[") {
		host, rest, closed := strings.Cut(text[1:], "]")
		switch {
		case !closed:
			return "", "", false, errors.New("the bracket is not closed")
		case strings.Count(host, ":") < 2:
			return "", "", false, errors.New("brackets are for IPv6 addresses")
		case rest != "" && rest[0] != ':':
			return "", "", false, errors.New("behind the bracket only :PORTS may stand")
		case rest == "":
			return host, "", false, nil
		}
		return host, rest[1:], true, nil
	}
	host, ports, hasPorts = strings.Cut(text, ":")
	if isIPv6(text) || strings.Count(text, ":") >= 2 && !strings.Contains(text, ".") && !beginsPorts(ports) {
		return text, "", false, nil
	}
	if host == "" {
		return "", "", false, errors.New("there is no host in it")
	}
	return host, ports, hasPorts, nil
}

// beginsPorts tells the ports in host:U:53, host:top:5 and host:22,U:53 from the rest of an IPv6 address, in
// which neither commas nor these words stand.
func beginsPorts(text string) bool {
	first, _, _ := strings.Cut(text, ",")
	_, _, proto := cutProto(first)
	return proto || hasPrefixFold(first, topPrefix) || !strings.Contains(first, ":")
}

// isIPv6 tells an IPv6 address, prefix or range with dots in it (::ffff:192.0.2.1) from host:ports.
func isIPv6(text string) bool {
	first, _, _ := strings.Cut(text, "-")
	first, _, _ = strings.Cut(first, "/")
	a, err := netip.ParseAddr(first)
	return err == nil && !a.Is4()
}

// parseRange reads an address, a prefix or a range. For a name it returns no address and no error.
func parseRange(host string) (first, last netip.Addr, err error) {
	if strings.Contains(host, "/") {
		return parsePrefix(host)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		return a, a, nil
	}
	if left, right, isRange := strings.Cut(host, "-"); isRange {
		if first, err := netip.ParseAddr(left); err == nil {
			return rangeFrom(first.Unmap(), right)
		}
	}
	switch {
	case strings.Contains(host, ":"):
		return first, last, errors.New("this is no IPv6 address; an address with ports is written [ADDRESS]:PORTS")
	case looksLikeIPv4(host):
		return first, last, errors.New("this is no IPv4 address; it has four numbers from 0 to 255, without leading zeros")
	}
	return first, last, nil
}

func parsePrefix(text string) (first, last netip.Addr, err error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return first, last, errors.New("this is no prefix; write ADDRESS/BITS with at most 32 bits for IPv4 and 128 for IPv6")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return first, last, errors.New("a prefix of IPv4-mapped addresses has at least 96 bits; write it as IPv4")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	r := netipx.RangeOfPrefix(p)
	return r.From(), r.To(), nil
}

// rangeFrom reads the right side of first-right: a whole address, or behind IPv4 its last number.
func rangeFrom(first netip.Addr, right string) (netip.Addr, netip.Addr, error) {
	last, err := netip.ParseAddr(right)
	last = last.Unmap()
	if n, nerr := strconv.ParseUint(right, 10, 8); nerr == nil && first.Is4() {
		b := first.As4()
		b[3] = byte(n)
		last, err = netip.AddrFrom4(b), nil
	}
	switch {
	case err != nil:
		return first, last, fmt.Errorf("%q is no end of a range; write 192.0.2.1-20 or both addresses whole", right)
	case first.Zone() != "" || last.Zone() != "":
		return first, last, errors.New("a zone goes with a single address, not with a range")
	case first.BitLen() != last.BitLen():
		return first, last, errors.New("a range cannot go from IPv4 to IPv6")
	case last.Less(first):
		return first, last, fmt.Errorf("the range runs backwards; write %s-%s", last, first)
	}
	return first, last, nil
}

// looksLikeIPv4 reports whether a word that is no address can be nothing else: no name
// ends in a number (RFC 3696 section 2).
func looksLikeIPv4(host string) bool {
	end := host[strings.LastIndexByte(host, '.')+1:]
	return end != "" && strings.Trim(end, "0123456789") == ""
}

// checkName refuses what no resolver could know. Underscores pass: they are in use.
func checkName(name string) error {
	if len(name) > 253 {
		return errors.New("a host name has at most 253 characters")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return errors.New("each part of a host name has 1 to 63 characters")
		}
		for _, r := range label {
			if !unicode.IsPrint(r) || r == ' ' || r == utf8.RuneError || strings.ContainsRune(`,;/\@#?&=+*!"'()<>[]{}|^%$`+"`", r) {
				return fmt.Errorf("%q cannot be part of a host name", r)
			}
		}
	}
	return nil
}
