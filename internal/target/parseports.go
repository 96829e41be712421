package target

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sonde/internal/probe"
)

// Services knows ports by their names and by how common they are.
type Services interface {
	Ports(name string, proto probe.Proto) []uint16 // the ports of a service; none for a name it does not know
	Top(n int, proto probe.Proto) []uint16         // the n commonest ports
}

// UnknownServiceError names a word in a list of ports that is no service of its protocol.
type UnknownServiceError struct {
	Name  string
	Proto probe.Proto
}

// Error says that the word is unknown.
func (e *UnknownServiceError) Error() string {
	kind := ""
	if e.Proto != probe.TCP {
		kind = strings.ToUpper(e.Proto.String()) + " "
	}
	return fmt.Sprintf("%q is neither a port nor a %sservice known here", e.Name, kind)
}

// protoPrefixes are how a list names the protocol of what follows, in lower case.
var protoPrefixes = [...]struct {
	text  string
	proto probe.Proto
}{{"t:", probe.TCP}, {"tcp:", probe.TCP}, {"u:", probe.UDP}, {"udp:", probe.UDP}}

const topPrefix = "top:"

// ParsePorts reads a list of ports: numbers, ranges (1-1024, -1024, 60000-), service
// names, top:N, and - or all for every port, separated by commas. U: (or udp:) before an item says that it
// and those behind it are UDP's, T: (or tcp:) that they are TCP's; before the first such word they are proto's.
func ParsePorts(list string, proto probe.Proto, services Services) (Ports, error) {
	if strings.TrimSpace(list) == "" {
		return Ports{}, errors.New("the list of ports is empty")
	}
	l := portParser{proto: proto, services: services}
	for item := range strings.SplitSeq(list, ",") {
		if err := l.item(strings.TrimSpace(item)); err != nil {
			return Ports{}, err
		}
	}
	return l.list.ports(), nil
}

// A portParser reads a list, item by item.
type portParser struct {
	list     portList
	proto    probe.Proto // of the items to come
	services Services
}

func (l *portParser) item(item string) error {
	rest, proto, prefixed := cutProto(item)
	if prefixed {
		l.proto = proto
		if _, _, again := cutProto(rest); again {
			return fmt.Errorf("%q names two protocols; write one before each list of ports, as in U:53,161,T:22", item)
		}
		if rest == "" {
			return fmt.Errorf("%q names a protocol and no port; write the ports behind it, as in U:53,161", item)
		}
	}
	switch {
	case rest == "":
		return errors.New("the list of ports has an empty item: two commas in a row, or one at an end")
	case rest == "-" || strings.EqualFold(rest, "all"):
		l.add(1, 65535)
		return nil
	case hasPrefixFold(rest, topPrefix):
		return l.top(rest)
	case strings.Trim(rest, "0123456789-") == "":
		return l.addRange(rest)
	}
	ports := l.services.Ports(rest, l.proto)
	if len(ports) == 0 {
		return &UnknownServiceError{rest, l.proto}
	}
	for _, p := range ports {
		l.add(p, p)
	}
	return nil
}

// cutProto takes the protocol off the beginning of an item, if it names one.
func cutProto(item string) (rest string, proto probe.Proto, ok bool) {
	for _, p := range protoPrefixes {
		if hasPrefixFold(item, p.text) {
			return strings.TrimSpace(item[len(p.text):]), p.proto, true
		}
	}
	return item, probe.TCP, false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func (l *portParser) add(first, last uint16) { l.list.add(l.proto, first, last) }

func (l *portParser) top(item string) error {
	n, err := strconv.Atoi(item[len(topPrefix):])
	if err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: write top:N with N from 1 to 65535", item)
	}
	for _, p := range l.services.Top(n, l.proto) {
		l.add(p, p)
	}
	return nil
}

// addRange adds "22", "1-1024", "-1024" or "60000-".
func (l *portParser) addRange(item string) error {
	low, high, isRange := strings.Cut(item, "-")
	if !isRange {
		high = low
	}
	if low == "" {
		low = "1"
	}
	if high == "" {
		high = "65535"
	}
	first, err := parsePort(low)
	if err != nil {
		return err
	}
	last, err := parsePort(high)
	if err != nil {
		return err
	}
	if first > last {
		return fmt.Errorf("the port range %s runs backwards; write %d-%d", item, last, first)
	}
	l.add(first, last)
	return nil
}

func parsePort(digits string) (uint16, error) {
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, fmt.Errorf("%q is not a port; write a number from 1 to 65535, or a range such as 1-1024", digits)
	case err != nil || n > 65535:
		return 0, fmt.Errorf("port %s is out of range; ports are 1 to 65535", digits)
	case n == 0:
		return 0, errors.New("port 0 cannot be probed; ports are 1 to 65535")
	}
	return uint16(n), nil
}
