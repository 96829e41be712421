package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A listing is one of the kernel's tables that has prefixes: how to ask for it, and where in a message the prefix is.
type listing struct {
	name        string
	ask, answer int
	family      byte     // whose messages count; AF_UNSPEC: both families'
	header      int      // the size of what is before the attributes; it begins with the family
	length      int      // where in it the length of the prefix is
	address     []uint16 // the attributes that have the address; the last one that is there counts
}

// readCuts returns the prefixes that make a difference to the kernel's answer.
func readCuts() ([]netip.Prefix, error) {
	// Of one shape are struct rtmsg and struct fib_rule_hdr.
	cuts, err := listing{"routes", unix.RTM_GETROUTE, unix.RTM_NEWROUTE, unix.AF_UNSPEC, unix.SizeofRtMsg, 1, []uint16{unix.RTA_DST}}.read()
	if err != nil {
		return nil, err
	}
	rules, err := listing{"routing rules", unix.RTM_GETRULE, unix.RTM_NEWRULE, unix.AF_UNSPEC, unix.SizeofRtMsg, 1, []uint16{unix.FRA_DST}}.read()
	if err != nil {
		return nil, err
	}
	// By these two IPv6 chooses the source (RFC 6724); struct ifaddrlblmsg and struct ifaddrmsg.
	labels, err := listing{"address labels", unix.RTM_GETADDRLABEL, unix.RTM_NEWADDRLABEL, unix.AF_INET6, unix.SizeofIfAddrlblmsg, 2, []uint16{unix.IFAL_ADDRESS}}.read()
	if err != nil {
		return nil, err
	}
	own, err := listing{"addresses", unix.RTM_GETADDR, unix.RTM_NEWADDR, unix.AF_INET6, unix.SizeofIfAddrmsg, 1, []uint16{unix.IFA_ADDRESS, unix.IFA_LOCAL}}.read()
	if err != nil {
		return nil, err
	}
	cuts = append(append(cuts, rules...), labels...)
	for _, p := range own {
		cuts = append(cuts, nested(p)...)
	}
	return cuts, nil
}

// readTries is how often a table is read that changes meanwhile. What changes all the time is never read at one moment.
const readTries = 5

// read returns the prefixes of a table, none if this kernel does not have it.
func (l listing) read() (all []netip.Prefix, err error) {
	for range readTries {
		all, err = l.readOnce()
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	switch {
	case errors.Is(err, nl.ErrDumpInterrupted), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return all, nil
	case err != nil:
		return nil, fmt.Errorf("read the %s: %w", l.name, err)
	}
	return all, nil
}

func (l listing) readOnce() (all []netip.Prefix, err error) {
	req := nl.NewNetlinkRequest(l.ask, unix.NLM_F_DUMP)
	header := make([]byte, l.header)
	header[0] = l.family
	req.AddRawData(header)
	err = req.ExecuteIter(unix.NETLINK_ROUTE, uint16(l.answer), func(msg []byte) bool {
		if p, ok := l.prefix(msg); ok {
			all = append(all, p)
		}
		return true
	})
	return all, err
}

// prefix reads one message. What has no address concerns all of them, and makes no difference between any.
func (l listing) prefix(msg []byte) (p netip.Prefix, ok bool) {
	if len(msg) < l.header || l.family != unix.AF_UNSPEC && msg[0] != l.family {
		return p, false
	}
	if msg[0] != unix.AF_INET && msg[0] != unix.AF_INET6 { // multicast routing and MPLS have routes too
		return p, false
	}
	attrs, err := nl.ParseRouteAttr(msg[l.header:])
	if err != nil {
		return p, false
	}
	var addr netip.Addr
	for _, kind := range l.address {
		for _, a := range attrs {
			if a.Attr.Type == kind {
				addr, _ = netip.AddrFromSlice(a.Value)
			}
		}
	}
	p = netip.PrefixFrom(addr, int(msg[l.length]))
	return p, p.IsValid()
}
