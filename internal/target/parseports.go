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
	Ports(name string) []uint16 // the TCP ports of a service; none for a name it does not know
	Top(n int) []uint16         // the n commonest TCP ports
}

// UnknownServiceError names a word in a list of ports that is no service.
type UnknownServiceError struct{ Name string }

// Error says that the word is unknown.
func (e *UnknownServiceError) Error() string {
	return fmt.Sprintf("%q is neither a port nor a service known here", e.Name)
}

// ParsePorts reads a list of TCP ports: numbers, ranges (1-1024, -1024, 60000-), service
// names, top:N, and - or all for every port, separated by commas.
func ParsePorts(list string, services Services) (Ports, error) {
	if strings.TrimSpace(list) == "" {
		return Ports{}, errors.New("the list of ports is empty")
	}
	var l portList
	for item := range strings.SplitSeq(list, ",") {
		if err := parsePortItem(&l, strings.TrimSpace(item), services); err != nil {
			return Ports{}, err
		}
	}
	return l.ports(), nil
}

func parsePortItem(l *portList, item string, services Services) error {
	switch {
	case item == "":
		return errors.New("the list of ports has an empty item: two commas in a row, or one at an end")
	case item == "-" || strings.EqualFold(item, "all"):
		l.add(probe.TCP, 1, 65535)
		return nil
	case strings.HasPrefix(strings.ToLower(item), "top:"):
		return addTop(l, item, services)
	case strings.Trim(item, "0123456789-") == "":
		return addRange(l, item)
	}
	ports := services.Ports(item)
	if len(ports) == 0 {
		return &UnknownServiceError{item}
	}
	for _, p := range ports {
		l.add(probe.TCP, p, p)
	}
	return nil
}

func addTop(l *portList, item string, services Services) error {
	n, err := strconv.Atoi(item[len("top:"):])
	if err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: write top:N with N from 1 to 65535", item)
	}
	for _, p := range services.Top(n) {
		l.add(probe.TCP, p, p)
	}
	return nil
}

// addRange adds "22", "1-1024", "-1024" or "60000-".
func addRange(l *portList, item string) error {
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
	l.add(probe.TCP, first, last)
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
