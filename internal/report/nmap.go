package report

import (
	"cmp"
	"slices"
	"strings"

	"sonde/internal/probe"
	"sonde/internal/target"
)

// What the forms that follow nmap's have in common, as nmap 7.93 was seen to write them: ports of a state that is not
// open are listed as long as they are few, and summed up when they are more.
const nmapListed = 25

// An extra is a state of which a host has too many ports to list each.
type extra struct {
	state   probe.State
	count   uint64
	reasons []extraReason
}

// An extraReason is why some ports of one protocol are in that state.
type extraReason struct {
	reason probe.Reason
	proto  probe.Proto
	ports  target.Ports
}

// sumUp parts rows into those that are listed and states that are summed up, the largest first.
func sumUp(rows []row, o Options) (listed []row, extras []extra) {
	counts := map[probe.State]uint64{}
	for i := range rows {
		counts[rows[i].state]++
	}
	isExtra := func(s probe.State) bool {
		return s != probe.Open && (o.OpenOnly || !o.Verbose && counts[s] > nmapListed)
	}
	for s, n := range counts {
		if isExtra(s) {
			extras = append(extras, extra{state: s, count: n, reasons: reasonsOf(rows, s)})
		}
	}
	slices.SortFunc(extras, func(a, b extra) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.state, b.state))
	})
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return isExtra(r.state) }), extras
}

func reasonsOf(rows []row, s probe.State) []extraReason {
	type key struct {
		reason probe.Reason
		proto  probe.Proto
	}
	ports := map[key][]uint16{}
	for i := range rows {
		if r := &rows[i]; r.state == s {
			k := key{r.reason, r.proto}
			ports[k] = append(ports[k], r.port)
		}
	}
	var all []extraReason
	for k, list := range ports {
		all = append(all, extraReason{k.reason, k.proto, target.PortList(k.proto, list...)})
	}
	slices.SortFunc(all, func(a, b extraReason) int {
		return cmp.Or(cmp.Compare(b.ports.Len(), a.ports.Len()), cmp.Compare(a.proto, b.proto), strings.Compare(a.reason.String(), b.reason.String()))
	})
	return all
}
