package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"sonde/internal/probe"
	"sonde/internal/service"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// services is what package service knows.
type services struct{}

func (services) Ports(name string, proto probe.Proto) []uint16 {
	return service.Ports(name, proto == probe.UDP)
}

func (services) Top(n int, proto probe.Proto) []uint16 { return service.Top(n, proto == probe.UDP) }

// A selection is what a user wants scanned, as flags say it.
type selection struct {
	hosts        []string // positional, and --host
	files        []string // --targets
	exclude      []string
	excludeFiles []string
	ports        []string // none: the hundred commonest
	excludePorts []string
	proto        probe.Proto // of ports that name none
	all          bool        // every address of a name
	family
}

// A request is what is named in a selection, read but not resolved.
type request struct {
	targets    []target.Spec
	exclusions []exclusion
}

// found is what a selection came to.
type found struct {
	local, public target.Space // addresses that are not public, and those that are
	names         map[netip.Addr]string
	unresolved    []error // one for each name without an address
	unscanned     []string
	left          []target.LeftOut
}

// find resolves what read has read. What is wrong with a selection is misuse; a name that cannot be
// resolved is not: the others go on.
func (s *selection) find(ctx context.Context, r request) (*found, error) {
	ports, err := s.defaultPorts()
	if err != nil {
		return nil, err
	}
	without, err := s.portsLeftOut()
	if err != nil {
		return nil, err
	}
	f := &found{names: map[netip.Addr]string{}}
	answers, err := s.lookUpAll(ctx, r.targets)
	if err != nil {
		return nil, err
	}
	resolved := s.place(r.targets, answers, f)
	excluded, err := resolveExclusions(ctx, r.exclusions)
	if err != nil {
		return nil, err
	}
	for i := range resolved {
		own := ports
		if resolved[i].Ports.Len() > 0 {
			own = resolved[i].Ports
		}
		if resolved[i].Ports = own.Without(without); resolved[i].Ports.Len() == 0 {
			return nil, misuse(errors.New("the list of ports is empty: --exclude-ports leaves none"), "see 'sonde scan --help' for how ports are named")
		}
	}
	return f, f.build(resolved, excluded)
}

// read reads all that was named: targets as arguments, with --host and in files, and what is to be left out.
func (s *selection) read(in io.Reader) (r request, err error) {
	if r.targets, err = s.specs(in); err != nil {
		return r, err
	}
	r.exclusions, err = s.exclusions()
	return r, err
}

// specs reads all targets that were named: as arguments, with --host, in files.
func (s *selection) specs(in io.Reader) ([]target.Spec, error) {
	var specs []target.Spec
	for _, text := range s.hosts {
		spec, err := target.ParseTarget(text, s.proto, services{})
		if err != nil {
			return nil, badTarget(text, err)
		}
		specs = append(specs, spec)
	}
	for _, name := range s.files {
		more, err := readTargets(name, s.proto, in)
		if err != nil {
			return nil, err
		}
		specs = append(specs, more...)
	}
	if len(specs) == 0 {
		return nil, misuse(errors.New("no target given"), "name one: sonde scan localhost, or sonde scan --host 192.0.2.1 --ports 22,80,443")
	}
	for _, spec := range specs {
		if err := s.checkAddress(spec); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// checkAddress refuses an address that cannot be scanned as it is written.
func (s *selection) checkAddress(spec target.Spec) error {
	a := spec.First
	switch {
	case spec.Name != "":
		return nil
	case !s.allows(a):
		return misuse(fmt.Errorf("target %q is no %s address, and no other is allowed", spec.Text, s.family), "leave out -4 or -6 to scan both families")
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return misuse(fmt.Errorf("target %q is link-local and needs its interface", spec.Text), fmt.Sprintf("write %s%%eth0", a))
	case a.Zone() != "":
		if _, err := strconv.ParseUint(a.Zone(), 10, 32); err != nil {
			return checkInterface(a.Zone())
		}
	}
	return nil
}

// readTargets reads a file of targets. - is standard input.
func readTargets(name string, proto probe.Proto, in io.Reader) ([]target.Spec, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, misuse(fmt.Errorf("cannot read the targets: %w", err))
		}
		defer f.Close()
		in = f
	}
	var specs []target.Spec
	err := eachWord(name, in, func(word, place string) error {
		spec, err := target.ParseTarget(word, proto, services{})
		if err != nil {
			return badTarget(word, fmt.Errorf("%s: %w", place, err))
		}
		specs = append(specs, spec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(specs) == 0 {
		return nil, misuse(fmt.Errorf("there is no target in %s", name), "write one a line: a name, an address, a prefix or a range, with its own ports if it has any")
	}
	return specs, nil
}

// eachWord gives do the words of a file, and where each stands: hosts.txt:3. There may be any number a line; # to the end of the
// line is a comment.
func eachWord(name string, in io.Reader, do func(word, place string) error) error {
	lines := bufio.NewScanner(in)
	n := 1
	for ; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		for word := range strings.FieldsSeq(text) {
			if err := do(word, fmt.Sprintf("%s:%d", name, n)); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return misuse(fmt.Errorf("%s:%d: the line is longer than %d bytes", name, n, bufio.MaxScanTokenSize), "write one a line")
	} else if err != nil {
		return misuse(fmt.Errorf("cannot read %s: %w", name, err))
	}
	return nil
}

func badTarget(text string, err error) error {
	hint, ok := serviceHint(err)
	_, notNumber := strconv.Atoi(text)
	switch {
	case strings.Contains(text, "://"):
		return misuse(err, "leave out what is not the host: sonde scan example.com:443")
	case ok:
		return misuse(err, hint)
	case notNumber == nil:
		return misuse(err, "ports go behind -p: sonde scan localhost -p "+text)
	case strings.Contains(text, ",") && !strings.Contains(text, ":"):
		return misuse(err, "put blanks between targets, not commas")
	}
	return misuse(err, "targets are names, addresses, prefixes (192.0.2.0/24) and ranges (192.0.2.1-20), each with its own :PORTS if it has any")
}

const portsHint = "ports are numbers, ranges (1-1024), service names, top:N, or - for all; U: before them makes them UDP's, T: TCP's"

// serviceHint suggests a service for a word that is none.
func serviceHint(err error) (string, bool) {
	var unknown *target.UnknownServiceError
	if !errors.As(err, &unknown) {
		return "", false
	}
	if near, ok := nearest(unknown.Name, serviceNames(unknown.Proto == probe.UDP)); ok {
		return fmt.Sprintf("did you mean %s?", near), true
	}
	return portsHint, true
}

func parsePorts(list string, proto probe.Proto) (target.Ports, error) {
	ports, err := target.ParsePorts(list, proto, services{})
	if err == nil {
		return ports, nil
	}
	if hint, ok := serviceHint(err); ok {
		return ports, misuse(err, hint)
	}
	return ports, misuse(err, portsHint)
}

func (s *selection) defaultPorts() (target.Ports, error) {
	if len(s.ports) == 0 {
		return parsePorts("top:100", s.proto)
	}
	return parseAllPorts(s.ports, s.proto)
}

func (s *selection) portsLeftOut() (target.Ports, error) {
	return parseAllPorts(s.excludePorts, s.proto)
}

// parseAllPorts returns the ports of any of the lists.
func parseAllPorts(lists []string, proto probe.Proto) (all target.Ports, err error) {
	for _, list := range lists {
		ports, err := parsePorts(list, proto)
		if err != nil {
			return all, err
		}
		all = all.Union(ports)
	}
	return all, nil
}

// place puts addresses in the place of names: the first of each, or all. It notes in f what the
// names are, which have no address, and what is left out.
func (s *selection) place(specs []target.Spec, answers map[string]*answer, f *found) (placed []target.Spec) {
	for _, spec := range specs {
		if spec.Name == "" {
			placed = append(placed, spec)
			continue
		}
		a := answers[spec.Name]
		first := !a.told
		a.told = true
		if a.err != nil {
			if first {
				f.unresolved = append(f.unresolved, a.err)
			}
			continue
		}
		addrs := a.addrs
		if !s.all {
			if first && len(addrs) > 1 {
				f.unscanned = append(f.unscanned, fmt.Sprintf("%s is scanned at %s; not at %s (--all-addresses)", spec.Name, addrs[0], joinAddrs(addrs[1:])))
			}
			addrs = addrs[:1]
		}
		for _, addr := range addrs {
			if f.names[addr] == "" {
				f.names[addr] = spec.Name
			}
			spec.First, spec.Last = addr, addr
			placed = append(placed, spec)
		}
	}
	return placed
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// build makes the two spaces: what is public gets other limits than what is not.
func (f *found) build(specs, excluded []target.Spec) error {
	var b target.Builder
	for _, s := range specs {
		b.Add(s.First, s.Last, s.Ports)
	}
	for _, s := range excluded {
		b.Exclude(s.First, s.Last)
	}
	for _, addr := range sock.Broadcasts() {
		for _, s := range specs {
			if s.First != s.Last && s.Means(addr) { // in a range nobody meant it
				b.Exclude(addr, addr)
				f.unscanned = append(f.unscanned, fmt.Sprintf("%v is the broadcast address of a network here, and is left out", addr))
				break
			}
		}
	}
	var err error
	if f.local, f.public, f.left, err = b.Split(); errors.Is(err, target.ErrTooMany) {
		return misuse(err, "scan a smaller prefix: an IPv6 /64 alone has 2^64 addresses")
	}
	return err
}
