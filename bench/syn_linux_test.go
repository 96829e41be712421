package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// The field is what is scanned: addresses behind an XDP program that answers SYNs by a fixed rule, so that the truth is known
// (lab.Truth), and counts them, so that everyone's rate is measured at the same place by the same clock.
const (
	fieldNet   = "10.77.0.0/16"
	fieldAddrs = 1 << 16
	fieldPorts = 32 // from 1
	client     = "198.18.1.1"
)

type field struct {
	host *lab.Host
	dir  string // for what the programs write
}

// newField makes the field, or returns nil: then the benchmark ran in the lab.
func newField(b *testing.B, wire lab.Wire, local ...string) *field {
	b.Helper()
	net := lab.Enter(b)
	if net == nil {
		return nil
	}
	config := lab.Config{Wire: wire}
	for _, prefix := range append(local, fieldNet) {
		config.Local = append(config.Local, netip.MustParsePrefix(prefix))
	}
	return &field{net.Host(b, config), b.TempDir()}
}

// A slice is a part of the field: its first addresses, and ports.
type slice struct{ addrs, first, ports int }

var whole = slice{fieldAddrs, 1, fieldPorts}

// sliceOf returns a slice of about so many targets, all addresses first.
func sliceOf(targets int) slice {
	s := slice{1, 1, 1}
	for s.addrs < fieldAddrs && 2*s.addrs <= targets {
		s.addrs *= 2
	}
	s.ports = min(max(targets/s.addrs, 1), fieldPorts)
	return s
}

// net is the slice's addresses as a prefix. Their number is a power of two.
func (s slice) net() string {
	bits := 32
	for n := s.addrs; n > 1; n /= 2 {
		bits--
	}
	return netip.PrefixFrom(netip.MustParsePrefix(fieldNet).Addr(), bits).String()
}

func (s slice) portList() string { return fmt.Sprintf("%d-%d", s.first, s.first+s.ports-1) }

// open is what is open in the slice.
func (s slice) open() map[string]bool {
	open := map[string]bool{}
	addr := netip.MustParsePrefix(fieldNet).Addr()
	for range s.addrs {
		for port := s.first; port < s.first+s.ports; port++ {
			if lab.Truth(netip.AddrPortFrom(addr, uint16(port))) == probe.Open {
				open[fmt.Sprint(addr, " ", port)] = true
			}
		}
		addr = addr.Next()
	}
	return open
}

// A tool scans a slice at a rate, 0: as fast as it can. It returns what it found open, and what became of its process.
type tool struct {
	name    string
	onePort bool // in a run
	scan    func(b *testing.B, f *field, s slice, rate int) (open map[string]bool, o outcome)
}

// A measure is what a scan came to: by the far end's count and clock, but for what was found.
type measure struct {
	syns, resets, broken uint64
	timed                uint64        // SYNs in the time
	took                 time.Duration // from the first SYN to the last of them
	open, lacking        int           // how many are, how many of them were not found
	untrue               int           // how many were found that are not
	outcome
}

func (m measure) rate() float64   { return float64(m.timed-1) / m.took.Seconds() }
func (m measure) recall() float64 { return 1 - float64(m.lacking)/float64(max(m.open, 1)) }

// add makes one measure of two runs.
func (m *measure) add(o measure) {
	m.syns, m.resets, m.broken = m.syns+o.syns, m.resets+o.resets, m.broken+o.broken
	m.timed, m.took = m.timed+o.timed, m.took+o.took
	m.open, m.lacking, m.untrue = m.open+o.open, m.lacking+o.lacking, m.untrue+o.untrue
	m.outcome.took, m.cpu, m.rss = m.outcome.took+o.outcome.took, m.cpu+o.cpu, max(m.rss, o.rss)
}

// measure scans a slice with a tool.
func (f *field) measure(b *testing.B, t tool, s slice, rate int) (m measure) {
	b.Helper()
	if t.onePort && s.ports > 1 {
		for port := s.first; port < s.first+s.ports; port++ {
			m.add(f.measure(b, t, slice{s.addrs, port, 1}, rate))
		}
		return m
	}
	f.host.ResetTally(b)
	found, o := t.scan(b, f, s, rate)
	truth, tally := s.open(), f.host.Tally(b)
	return measure{
		syns: tally.SYNs(), resets: tally.Resets, broken: tally.Broken, timed: tally.Timed, took: tally.Last - tally.First,
		open: len(truth), lacking: missing(truth, found), untrue: missing(found, truth), outcome: o,
	}
}

// sonde is one of sonde's engines, with more flags.
func sonde(path, engine string, flags ...string) tool {
	return tool{engine, false, func(b *testing.B, f *field, s slice, rate int) (map[string]bool, outcome) {
		out := filepath.Join(f.dir, "sonde.json")
		asked := "max"
		if rate > 0 {
			asked = strconv.Itoa(rate)
		}
		args := append([]string{"scan", s.net(), "-p", s.portList(), "--method", "syn", "--engine", engine, "--rate", asked, "--open", "-o", "json=" + out}, flags...)
		o := run(b, 0, path, args...)
		return ours(b, out).open, o
	}}
}

// masscan waits three seconds for late answers: here none takes longer than a moment.
func masscan(path string) tool {
	return tool{"masscan", false, func(b *testing.B, f *field, s slice, rate int) (map[string]bool, outcome) {
		out := filepath.Join(f.dir, "masscan.txt")
		o := run(b, 0, path, s.net(), "-p", s.portList(), "--rate", strconv.Itoa(cmp.Or(rate, 10_000_000)), "--wait", "3", "-e", f.host.Device,
			"--source-ip", client, "--router-mac", f.host.MAC.String(), "-oL", out)
		open := map[string]bool{}
		for line := range lines(b, out) { // open tcp 80 10.77.0.1 1234567890
			if w := strings.Fields(line); len(w) >= 4 && w[0] == "open" {
				open[w[3]+" "+w[2]] = true
			}
		}
		return open, o
	}}
}

// zmap is told to be as fast as it can by a rate that it cannot keep: 0 is not that.
func zmap(path string) tool {
	return tool{"zmap", true, func(b *testing.B, f *field, s slice, rate int) (map[string]bool, outcome) {
		out := filepath.Join(f.dir, "zmap.txt")
		o := run(b, 0, path, s.net(), "-p", strconv.Itoa(s.first), "-b", "/dev/null", "-C", "/dev/null", "-r", strconv.Itoa(cmp.Or(rate, 10_000_000)),
			"-i", f.host.Device, "-G", f.host.MAC.String(), "-S", client, "-c", "3", "-q", "--disable-syslog", "-o", out)
		open := map[string]bool{}
		for addr := range lines(b, out) {
			open[addr+" "+strconv.Itoa(s.first)] = true
		}
		return open, o
	}}
}

// lines reads a file, which may not be there.
func lines(b *testing.B, path string) map[string]bool {
	b.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
	all := map[string]bool{}
	for scanner := bufio.NewScanner(bytes.NewReader(data)); scanner.Scan(); {
		all[scanner.Text()] = true
	}
	return all
}

// installed returns the tools to compare with that are there.
func installed() (tools []tool) {
	if path, err := exec.LookPath("masscan"); err == nil {
		tools = append(tools, masscan(path))
	}
	if path, err := exec.LookPath("zmap"); err == nil {
		tools = append(tools, zmap(path))
	}
	return tools
}

// busy keeps one processor busy until the benchmark ends.
func busy(b *testing.B) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "/bin/sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	pin(b, cmd.Process.Pid, 0)
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	time.Sleep(100 * time.Millisecond)
}

func pin(b *testing.B, pid, cpu int) {
	b.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		b.Fatal(err)
	}
}
