package scan

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"sonde/internal/probe"
	"sonde/internal/target"
)

// HighPorts is how many ports nobody listens on are asked of a host that accepts on more than one.
const HighPorts = 3

// DrawHighPorts draws, for one scan, ports of the range that nothing is registered in (RFC 6335 section 6). Whoever accepts on all of
// them accepts on any.
func DrawHighPorts(seed uint64) target.Ports {
	const first, last = 49152, 65535
	r := rand.New(rand.NewPCG(seed, HighPorts))
	ports := map[uint16]bool{}
	for len(ports) < HighPorts {
		ports[uint16(first+r.IntN(last-first+1))] = true
	}
	var list []uint16
	for p := range ports {
		list = append(list, p)
	}
	return target.PortList(probe.TCP, list...)
}

// Accepting yields the hosts of the span that accept on so many TCP ports at the least, ascending.
func (s *Summary) Accepting(least uint32) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		var hosts []netip.Addr
		for addr, r := range s.queue.hosts.all() {
			if r.openTCP >= least {
				hosts = append(hosts, addr)
			}
		}
		slices.SortFunc(hosts, netip.Addr.Compare)
		for _, addr := range hosts {
			if !yield(addr) {
				return
			}
		}
	}
}

// OpenTCP returns the TCP ports on which a host of the span accepts.
func (s *Summary) OpenTCP(addr netip.Addr) target.Ports {
	q := s.queue
	return q.plan.Space.Ports(addr).Where(func(proto probe.Proto, port uint16) bool {
		if proto != probe.TCP {
			return false
		}
		place, _ := q.plan.Place(probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: proto})
		return place >= q.span.Lo && place < q.span.Hi && q.ledger.answer(place-q.span.Lo) == open
	})
}

// Withdraw says that something else accepts for a host, whatever the port. What was accepted and is not proved counts
// as open|filtered from now on; Withdraw returns those verdicts, which take the place of the earlier ones.
func (s *Summary) Withdraw(addr netip.Addr, proved target.Ports) []probe.Result {
	s.queue.hosts.of(addr).middlebox = true
	s.Middleboxes++
	var verdicts []probe.Result
	now := time.Now()
	unproved := s.OpenTCP(addr).Without(proved)
	for j := range unproved.Len() {
		proto, port := unproved.At(j)
		verdicts = append(verdicts, probe.Result{
			Target: probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: proto},
			State:  probe.OpenFiltered, Reason: probe.Middlebox, Time: now,
		})
	}
	s.Open -= unproved.Len()
	s.OpenFiltered += unproved.Len()
	return verdicts
}
