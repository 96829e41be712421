package target

import (
	"net/netip"

	"go4.org/netipx"
)

// A block is an entry of IANA's registries of special-purpose addresses, or of multicast addresses.
type block struct {
	netip.Prefix
	name      string // the registry's
	reachable bool   // a public network inside a block that is none: the more specific entry counts
}

// blocks are the addresses that are not public: what the special-purpose registries (RFC 6890 as updated by
// RFC 8190, read in October 2025) do not call globally reachable, and multicast. What they do call so stands here only inside such
// a block; AS112 (192.31.196.0/24, 192.175.48.0/24, 2620:4f:8000::/48), AMT (192.52.193.0/24) and NAT64 (64:ff9b::/96) are
// as public as any network.
var blocks = [...]block{
	special("0.0.0.0/8", "this network"),                 // RFC 791 section 3.2
	special("10.0.0.0/8", "private use"),                 // RFC 1918
	special("100.64.0.0/10", "shared address space"),     // RFC 6598
	special("127.0.0.0/8", "loopback"),                   // RFC 1122 section 3.2.1.3
	special("169.254.0.0/16", "link local"),              // RFC 3927
	special("172.16.0.0/12", "private use"),              // RFC 1918
	special("192.0.0.0/24", "IETF protocol assignments"), // RFC 6890 section 2.1
	reachable("192.0.0.9/32"),                            // port control protocol anycast: RFC 7723
	reachable("192.0.0.10/32"),                           // TURN anycast: RFC 8155
	special("192.0.2.0/24", "documentation"),             // RFC 5737
	special("192.88.99.0/24", "6to4 relay anycast"),      // RFC 7526
	special("192.168.0.0/16", "private use"),             // RFC 1918
	special("198.18.0.0/15", "benchmarking"),             // RFC 2544
	special("198.51.100.0/24", "documentation"),          // RFC 5737
	special("203.0.113.0/24", "documentation"),           // RFC 5737
	special("224.0.0.0/4", "multicast"),                  // RFC 5771
	special("240.0.0.0/4", "reserved"),                   // RFC 1112 section 4; its last address is limited broadcast: RFC 919

	special("::/128", "unspecified address"),            // RFC 4291
	special("::1/128", "loopback"),                      // RFC 4291
	special("::ffff:0:0/96", "IPv4-mapped addresses"),   // RFC 4291
	special("64:ff9b:1::/48", "IPv4-IPv6 translation"),  // RFC 8215
	special("100::/64", "discard only"),                 // RFC 6666
	special("100:0:0:1::/64", "dummy prefix"),           // RFC 9780
	special("2001::/23", "IETF protocol assignments"),   // RFC 2928
	reachable("2001:1::1/128"),                          // port control protocol anycast: RFC 7723
	reachable("2001:1::2/128"),                          // TURN anycast: RFC 8155
	reachable("2001:1::3/128"),                          // DNS-SD registration anycast: RFC 9665
	reachable("2001:3::/32"),                            // AMT: RFC 7450
	reachable("2001:4:112::/48"),                        // AS112: RFC 7535
	reachable("2001:20::/28"),                           // ORCHIDv2: RFC 7343
	reachable("2001:30::/28"),                           // drone remote ID: RFC 9374
	special("2001:db8::/32", "documentation"),           // RFC 3849
	special("2002::/16", "6to4"),                        // RFC 3056
	special("3fff::/20", "documentation"),               // RFC 9637
	special("5f00::/16", "segment routing identifiers"), // RFC 9602
	special("fc00::/7", "unique local"),                 // RFC 4193
	special("fe80::/10", "link local"),                  // RFC 4291
	special("fec0::/10", "site local, deprecated"),      // RFC 3879
	special("ff00::/8", "multicast"),                    // RFC 4291 section 2.7
}

func special(prefix, name string) block { return block{netip.MustParsePrefix(prefix), name, false} }

func reachable(prefix string) block { return block{netip.MustParsePrefix(prefix), "", true} }

// blockOf returns the special-purpose block that an address lies in.
func blockOf(a netip.Addr) (in block, ok bool) {
	for _, b := range blocks {
		if b.Contains(a) {
			in = b // the more specific comes later
		}
	}
	return in, in.IsValid() && !in.reachable
}

// isWide reports whether a range is wider than one block. Who names an address, or a range inside one
// block, means it; of a wider range the blocks in it are not meant.
func isWide(first, last netip.Addr) bool {
	for _, b := range blocks {
		if !b.reachable && b.Contains(first) && b.Contains(last) {
			return false
		}
	}
	return first != last
}

// Means reports whether a is one of the addresses that a user means by a spec: one from First to Last, but of what is
// wider than a special-purpose block nothing in such a block.
func (s Spec) Means(a netip.Addr) bool {
	if a.Less(s.First) || s.Last.Less(a) {
		return false
	}
	_, special := blockOf(a)
	return !special || !isWide(s.First, s.Last)
}

// A LeftOut is what a special-purpose block holds of ranges that are wider than it, and of no others: it is not scanned.
type LeftOut struct {
	Name  string // of the block, in IANA's registry
	block netip.Prefix
	parts []netipx.IPRange // ascending
}

// String names the addresses: 10.0.0.0/8, 10.0.0.0-10.0.0.9, or parts of 10.0.0.0/8.
func (l LeftOut) String() string {
	if len(l.parts) > 1 {
		return "parts of " + l.block.String()
	}
	if p, ok := l.parts[0].Prefix(); ok {
		return p.String()
	}
	return l.parts[0].String()
}

// leaveOut notes that the addresses from first to last, behind all before and inside one block, are not scanned.
func leaveOut(all []LeftOut, first, last netip.Addr) []LeftOut {
	b, _ := blockOf(first)
	n := len(all)
	if n == 0 || all[n-1].block != b.Prefix {
		return append(all, LeftOut{b.name, b.Prefix, []netipx.IPRange{netipx.IPRangeFrom(first, last)}})
	}
	parts := &all[n-1].parts
	if top := &(*parts)[len(*parts)-1]; top.To().Next() == first {
		*top = netipx.IPRangeFrom(top.From(), last)
	} else {
		*parts = append(*parts, netipx.IPRangeFrom(first, last))
	}
	return all
}
