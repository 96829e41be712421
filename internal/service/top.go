package service

import (
	"iter"
	"strings"
)

// Top returns the n commonest ports, commonest first. First come those of a list made by
// hand from what is deployed in practice (see common_tcp.go and common_udp.go), then the
// other ports that have a name, ascending, then all others, ascending: so it is defined
// for every n, without repetition and without port 0. A negative n counts as 0, and more
// than 65,535 as 65,535.
func Top(n int, udp bool) []uint16 {
	n = min(max(n, 0), 65535)
	top := make([]uint16, 0, n)
	var taken [65536]bool
	for port := range byUse(udp) {
		if len(top) == n {
			break
		}
		if !taken[port] {
			taken[port] = true
			top = append(top, port)
		}
	}
	return top
}

// byUse yields all ports, commonest first. Ports come more than once; the first time counts.
func byUse(udp bool) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		common := commonTCP
		if udp {
			common = commonUDP
		}
		for port := range listed(common) {
			if !yield(port) {
				return
			}
		}
		for line := range strings.Lines(table) {
			if names(line, udp) != "" && !yield(portOf(line)) {
				return
			}
		}
		for port := 1; port <= 65535; port++ {
			if !yield(uint16(port)) {
				return
			}
		}
	}
}

// listed yields the ports of a list: numbers and ranges between spaces; # begins a comment.
func listed(list string) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for line := range strings.Lines(list) {
			line, _, _ = strings.Cut(line, "#")
			for field := range strings.FieldsSeq(line) {
				first, last, isRange := strings.Cut(field, "-")
				if !isRange {
					last = first
				}
				for port := int(number(first)); port <= int(number(last)); port++ {
					if !yield(uint16(port)) {
						return
					}
				}
			}
		}
	}
}
