package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sonde/internal/probe"
)

// A Space as text is a list of its groups, so that a /8 is one range and ports that a thousand
// ranges share stand once:
//
//	[{"ports":{"tcp":"22,80-90","udp":"53"},"addrs":["10.0.0.0 - 10.255.255.255","::1"]}]

// A groupText is one group: its ports by protocol, and its ranges of addresses.
type groupText struct {
	Ports map[string]string `json:"ports"`
	Addrs []string          `json:"addrs"`
}

// rangeSign stands between two addresses. A zone may have hyphens and dots in it, but no blanks.
const rangeSign = " - "

// MarshalJSON writes the space as ranges, from which UnmarshalJSON makes an equal one.
func (s Space) MarshalJSON() ([]byte, error) {
	texts := make([]groupText, len(s.groups))
	for i := range s.groups {
		g := &s.groups[i]
		texts[i] = groupText{portTexts(g.ports), make([]string, len(g.spans))}
		for k, sp := range g.spans {
			texts[i].Addrs[k] = rangeText(sp.first, sp.last)
		}
	}
	return json.Marshal(texts)
}

func rangeText(first, last netip.Addr) string {
	if first == last {
		return first.String()
	}
	return first.String() + rangeSign + last.String()
}

func portTexts(p Ports) map[string]string {
	lists := map[string]string{}
	for _, r := range p.ranges {
		list := lists[r.proto.String()]
		if list != "" {
			list += ","
		}
		list += strconv.Itoa(int(r.first))
		if r.last > r.first {
			list += "-" + strconv.Itoa(int(r.last))
		}
		lists[r.proto.String()] = list
	}
	return lists
}

// UnmarshalJSON makes the space that MarshalJSON wrote: the same targets with the same numbers.
func (s *Space) UnmarshalJSON(text []byte) error {
	var texts []groupText
	if err := json.Unmarshal(text, &texts); err != nil {
		return err
	}
	var b Builder
	for _, g := range texts {
		ports, err := readPortTexts(g.Ports)
		if err != nil {
			return err
		}
		number := b.number(ports)
		for _, text := range g.Addrs {
			first, last, err := readRange(text)
			if err != nil {
				return err
			}
			b.put(first, last, number, false)
		}
	}
	space, err := b.Space()
	if err != nil {
		return err
	}
	*s = space
	return nil
}

func readRange(text string) (first, last netip.Addr, err error) {
	low, high, isRange := strings.Cut(text, rangeSign)
	if !isRange {
		high = low
	}
	if first, err = netip.ParseAddr(low); err != nil {
		return first, last, err
	}
	if last, err = netip.ParseAddr(high); err != nil {
		return first, last, err
	}
	first, last = first.Unmap(), last.Unmap()
	if first.BitLen() != last.BitLen() || first.Zone() != last.Zone() || last.Less(first) {
		return first, last, fmt.Errorf("%q is no range of addresses", text)
	}
	return first, last, nil
}

func readPortTexts(lists map[string]string) (Ports, error) {
	var l portList
	for name, list := range lists {
		proto, err := readProto(name)
		if err != nil {
			return Ports{}, err
		}
		for item := range strings.SplitSeq(list, ",") {
			if err := readPortRange(&l, proto, item); err != nil {
				return Ports{}, err
			}
		}
	}
	if len(l) == 0 {
		return Ports{}, errors.New("addresses without ports")
	}
	return l.ports(), nil
}

func readProto(name string) (probe.Proto, error) {
	for _, proto := range []probe.Proto{probe.TCP, probe.UDP, probe.Echo} {
		if proto.String() == name {
			return proto, nil
		}
	}
	return 0, fmt.Errorf("%q is no protocol", name)
}

func readPortRange(l *portList, proto probe.Proto, item string) error {
	low, high, isRange := strings.Cut(item, "-")
	if !isRange {
		high = low
	}
	first, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return err
	}
	last, err := strconv.ParseUint(high, 10, 16)
	if err != nil {
		return err
	}
	if first == 0 || last < first {
		return fmt.Errorf("%q is no range of ports", item)
	}
	l.add(proto, uint16(first), uint16(last))
	return nil
}
