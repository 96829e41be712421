package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"sonde/internal/sock"
	"sonde/internal/target"
)

// mostAttempts is how often --recall asks, where --attempts does not say: beyond it a path is broken, not lossy.
const mostAttempts = 30

// check refuses flags that make no sense.
func (s *scanner) check(given func(flag string) bool) error {
	switch {
	case s.only4 && s.only6:
		return misuse(errors.New("-4 and -6 exclude each other"), "leave both out to scan both families")
	case s.attempts < 1:
		return misuse(errors.New("--attempts must be at least 1"))
	case s.concurrency < 0 || s.concurrency == 0 && given("concurrency"):
		return misuse(errors.New("--concurrency must be at least 1"))
	case given("recall") && !(s.recall > 0 && s.recall < 100):
		return misuse(fmt.Errorf("--recall %v: it must lie between 0 and 100, without either", s.recall), "99.9 is much to ask; 100 would take for ever")
	case s.dryRun && s.alive:
		return misuse(errors.New("--dry-run sends nothing, so it cannot tell whom --alive would leave out"), "leave out one of them")
	case s.dryRun && (given("journal") || given("output")):
		return misuse(errors.New("--dry-run prints targets to standard output; there is nothing for --journal and --output"), "leave them out")
	case given("journal") && s.journal == "":
		return misuse(errors.New("--journal names no file"))
	case given("banner-wait") && !s.banner:
		return misuse(errors.New("--banner-wait needs --banner"))
	}
	if err := errors.Join(s.checkManners(given), s.checkSYN(given)); err != nil {
		return err
	}
	if given("recall") && !given("attempts") {
		s.attempts = mostAttempts
	}
	if s.journal != "" {
		if err := s.out.spareName(s.journal); err != nil {
			return err
		}
	}
	if s.iface != "" {
		if runtime.GOOS != "linux" {
			return misuse(errors.New("--interface needs Linux"), "name the interface's address with --source")
		}
		if err := checkInterface(s.iface); err != nil {
			return err
		}
	}
	return s.checkSources()
}

func checkInterface(name string) error {
	if _, err := net.InterfaceByName(name); err == nil {
		return nil
	}
	var names []string
	all, _ := net.Interfaces() // without them the hint is shorter
	for _, i := range all {
		names = append(names, i.Name)
	}
	return misuse(fmt.Errorf("there is no interface %s", name), "there are "+strings.Join(names, ", "))
}

func (s *scanner) checkSources() error {
	if len(s.sources) == 0 {
		return nil
	}
	own, err := sock.OwnAddrs()
	if err != nil {
		return err
	}
	for _, text := range s.sources {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return misuse(fmt.Errorf("--source %q is no address", text), "name one of this machine's addresses")
		}
		a = a.Unmap()
		if !own[a.WithZone("")] && !a.IsLoopback() {
			return misuse(fmt.Errorf("--source %s is no address of this machine", a), "its addresses are "+ownList(own))
		}
		slot := &s.source4
		if a.Is6() {
			slot = &s.source6
		}
		if slot.IsValid() {
			return misuse(fmt.Errorf("--source %s and %s are of one family", *slot, a), "give one for IPv4 and one for IPv6")
		}
		*slot = a
	}
	return nil
}

// checkFamilies refuses a --source that some target cannot be reached from.
func (s *scanner) checkFamilies(f *found) error {
	if len(s.sources) == 0 {
		return nil
	}
	if s.source4.IsLoopback() && f.public.Len() > 0 {
		return misuse(fmt.Errorf("--source %s cannot reach %s", s.source4, f.public.Host(0)), "loopback addresses reach this machine only")
	}
	for _, space := range []target.Space{f.local, f.public} {
		if space.Len() == 0 {
			continue
		}
		// Addresses ascend, IPv4 first.
		if first := space.Host(0); first.Is4() && !s.source4.IsValid() {
			return misuse(fmt.Errorf("--source %s cannot reach %s", s.source6, first), "give an IPv4 source too, or scan IPv6 only with -6")
		}
		if last := space.Host(space.Hosts() - 1); last.Is6() && !s.source6.IsValid() {
			return misuse(fmt.Errorf("--source %s cannot reach %s", s.source4, last), "give an IPv6 source too, or scan IPv4 only with -4")
		}
	}
	return nil
}

func ownList(own map[netip.Addr]bool) string {
	var addrs []netip.Addr
	for a := range own {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return joinAddrs(addrs)
}
