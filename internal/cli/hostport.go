package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sonde/internal/dial"
	"sonde/internal/service"
)

// hostPort reads HOST PORT or HOST:PORT, the arguments of a command.
func hostPort(command string, args []string, udp bool) (host string, port uint16, err error) {
	usage := fmt.Sprintf("name a host and a port: sonde %s localhost 9999", command)
	switch {
	case len(args) == 0:
		return "", 0, misuse(errors.New("no host given"), usage)
	case len(args) > 2:
		return "", 0, misuse(fmt.Errorf("too many arguments: %q", args[2:]), usage)
	}
	host, text, err := dial.SplitAddress(args[0])
	bare := errors.Is(err, dial.ErrNoPort)
	_, noPort := strconv.ParseUint(host, 10, 16)
	switch {
	case len(args) == 2 && err == nil:
		return "", 0, misuse(fmt.Errorf("two ports given: %s and %s", args[0], args[1]), "leave one out")
	case len(args) == 2 && bare:
		text = args[1]
	case bare && noPort == nil:
		return "", 0, misuse(fmt.Errorf("no host given for port %s", host), fmt.Sprintf("name one: sonde %s localhost %s", command, host))
	case bare && host != "":
		return "", 0, misuse(fmt.Errorf("no port given for %s", host), fmt.Sprintf("add one: sonde %s %s PORT", command, host))
	case err != nil:
		return "", 0, misuse(fmt.Errorf("%q is no HOST:PORT: %w", args[0], err), "an IPv6 address goes in brackets: [::1]:9999")
	}
	if host == "" {
		return "", 0, misuse(errors.New("the host is empty"), usage)
	}
	port, err = parsePort(text, udp)
	return host, port, err
}

// parsePort reads a number or a service's name.
func parsePort(text string, udp bool) (uint16, error) {
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && n >= 1 && n <= 65535:
		return uint16(n), nil
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, misuse(fmt.Errorf("port %s is not between 1 and 65535", text))
	}
	ports := service.Ports(text, udp)
	switch {
	case len(ports) == 1:
		return ports[0], nil
	case len(ports) > 1:
		return 0, misuse(fmt.Errorf("%q has several ports: %s", text, strings.Trim(fmt.Sprint(ports), "[]")), "name one of them by number")
	}
	hint := "name a port by its number, 1 to 65535, or by its service, as http"
	if near, ok := nearest(text, serviceNames(udp)); ok {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return 0, misuse(fmt.Errorf("%q is neither a port nor a known service", text), hint)
}

// serviceNames returns the names of services, the commonest first: of two slips that are
// as near, the likelier is meant.
func serviceNames(udp bool) []string {
	var names []string
	for _, port := range service.Top(1000, udp) {
		names = append(names, service.Name(port, udp))
	}
	return append(names, service.Names(udp)...)
}
