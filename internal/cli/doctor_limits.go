package cli

import (
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"runtime"
	"strings"

	"sonde/internal/report"
	"sonde/internal/sock"
)

// limits are what this system allows; what is zero is not known, or not limited.
type limits struct {
	files uint64 // open at once

	firstPort, lastPort, reserved int // that connections come from, and how many of them not

	neighbors uint64 // entries of the table for IPv4
	network   netip.Prefix
	device    string // of network, the largest one on a link

	conntrack struct {
		most, now uint64
		seconds   float64 // that a SYN without an answer stays
	}
}

func readLimits() (l limits) {
	if runtime.GOOS != "windows" { // it has no such limit
		l.files, _ = sock.RaiseFileLimit() // as every command does that needs many
	}
	scanSysctl("net.ipv4.ip_local_port_range", &l.firstPort, &l.lastPort)
	reserved, _ := sock.Sysctl("net.ipv4.ip_local_reserved_ports")
	l.reserved = countReserved(reserved, l.firstPort, l.lastPort)
	scanSysctl("net.ipv4.neigh.default.gc_thresh3", &l.neighbors)
	l.network, l.device = largestNetwork()
	scanSysctl("net.netfilter.nf_conntrack_max", &l.conntrack.most)
	scanSysctl("net.netfilter.nf_conntrack_count", &l.conntrack.now)
	scanSysctl("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", &l.conntrack.seconds)
	return l
}

// scanSysctl reads numbers; where there are none they stay as they are.
func scanSysctl(name string, numbers ...any) {
	if text, err := sock.Sysctl(name); err == nil {
		_, _ = fmt.Sscan(text, numbers...)
	}
}

// countReserved counts those of a list (ip-sysctl, ip_local_reserved_ports: 8080,9000-9010) that lie from first to last.
func countReserved(list string, first, last int) (n int) {
	for item := range strings.SplitSeq(list, ",") {
		var from, to int
		if k, _ := fmt.Sscanf(item, "%d-%d", &from, &to); k == 1 {
			to = from
		}
		n += max(0, min(to, last)-max(from, first)+1)
	}
	return n
}

// largestNetwork returns the largest IPv4 network on a link of this machine.
func largestNetwork() (largest netip.Prefix, device string) {
	all, _ := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() && (!largest.IsValid() || p.Bits() < largest.Bits()) {
				largest, device = p.Masked(), i.Name
			}
		}
	}
	return largest, device
}

// What is enough.
const (
	enoughFiles     = 1<<14 + 32 // what a connect scan uses where it helps, and a few
	enoughPorts     = 1 << 14    // what RFC 6335 section 6 sets aside for it
	enoughConntrack = 1 << 18    // a SYN of each attempt to a /16
)

func (l limits) findings(m *machine) findings {
	f := findings{group: "limits"}
	l.tellFiles(&f, m)
	l.tellPorts(&f, m)
	l.tellNeighbors(&f, m)
	l.tellConntrack(&f, m)
	return f
}

func (l limits) tellFiles(f *findings, m *machine) {
	command := "prlimit --pid $$ --nofile=65536:65536" // of the shell that it is pasted into
	if m.system != "linux" {
		command = "sysctl kern.maxfilesperproc=65536"
	}
	text := fmt.Sprintf("%s; a connect scan makes use of %s", number(l.files), number(enoughFiles))
	switch {
	case l.files == 0:
	case l.files >= enoughFiles:
		f.ok("open files", "%s", number(l.files))
	case m.system == "linux" && len(m.privileges.Bounding.Lacking(sock.CapSysResource)) > 0:
		f.note("open files", "%s; nothing started here can raise it: a container gets it by --ulimit nofile=65536", text)
	default:
		f.lack("open files", m.sudo(command), "%s", text)
	}
}

func (l limits) tellPorts(f *findings, m *machine) {
	n := l.lastPort - l.firstPort + 1 - l.reserved
	text := fmt.Sprintf("%d to %d", l.firstPort, l.lastPort)
	if l.reserved > 0 {
		text += fmt.Sprintf(", %s of them reserved", number(uint64(l.reserved)))
	}
	switch {
	case l.lastPort == 0:
	case n < enoughPorts:
		f.lack("source ports", m.sudo(`sysctl -w net.ipv4.ip_local_port_range="16384 65535"`), "%s: no more connections than that to one port", text)
	default:
		f.ok("source ports", "%s", text)
	}
}

// tellNeighbors holds the table against the largest network whose hosts have to be in it.
func (l limits) tellNeighbors(f *findings, m *machine) {
	if l.neighbors == 0 {
		return
	}
	if !l.network.IsValid() {
		f.ok("neighbours", "%s, and no IPv4 network on a link", number(l.neighbors))
		return
	}
	hosts := uint64(1) << (32 - l.network.Bits())
	text := fmt.Sprintf("%s; %v on %s has room for %s", number(l.neighbors), l.network, l.device, report.Plural(hosts, "host"))
	if hosts <= l.neighbors {
		f.ok("neighbours", "%s", text)
		return
	}
	enough := uint64(1) << bits.Len64(hosts) // more than all of them
	command := m.sudo(fmt.Sprintf("sysctl -w net.ipv4.neigh.default.gc_thresh3=%d", enough))
	f.lack("neighbours", command, "%s: in a scan of it the others would look filtered", text)
}

// tellConntrack tells of the table in which a firewall here notes connections. Where nothing is in it, none has a rule that asks for it.
func (l limits) tellConntrack(f *findings, m *machine) {
	c := l.conntrack
	if c.most == 0 {
		return
	}
	if c.now == 0 {
		f.ok("conntrack", "%s, none in use: no rule here asks for it now", number(c.most))
		return
	}
	text := fmt.Sprintf("%s, %s in use", number(c.most), number(c.now))
	if c.seconds > 0 {
		rate := float64(c.most-min(c.most, c.now)) / c.seconds
		text += fmt.Sprintf(": more than %s that nobody answers fill it, and it drops what is new", perSecond(rate))
	}
	if c.most < enoughConntrack {
		f.lack("conntrack", m.sudo("sysctl -w net.netfilter.nf_conntrack_max=1048576"), "%s", text)
		return
	}
	f.note("conntrack", "%s; --engine xdp goes past it", text)
}

// number is a count with a comma between thousands.
func number(n uint64) string {
	digits, _, _ := strings.Cut(report.Plural(n, "x"), " ")
	return digits
}
