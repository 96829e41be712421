package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"sonde/internal/sock"
	"sonde/internal/xdp"
)

// A machine is what was found out about this one by trying.
type machine struct {
	system     string // as runtime.GOOS has it
	program    string // the path of this one
	root       bool
	kernel     string // its release
	privileges sock.Privileges

	// Why there are none.
	raw, ping, xdp error
}

func examine() *machine {
	m := &machine{system: runtime.GOOS, root: os.Geteuid() == 0, kernel: sock.KernelRelease(), ping: tryPing(), xdp: xdp.Available(), raw: tryRaw()}
	m.privileges, _ = sock.ReadPrivileges() // where it fails there is nothing to be had by them
	if m.program, _ = os.Executable(); m.program == "" {
		m.program = "sonde"
	}
	return m
}

// tryRaw opens what SYN scans are sent and heard by.
func tryRaw() error {
	raw, err := sock.OpenRaw(sock.RawConfig{Ring: 1 << 20, First: 1, Last: 1})
	if err != nil {
		return err
	}
	return raw.Close()
}

// tryPing opens what --alive asks by.
func tryPing() error {
	p, err := sock.NewPing(false, netip.Addr{}, "")
	if err != nil {
		if p, err6 := sock.NewPing(true, netip.Addr{}, ""); err6 == nil {
			return p.Close()
		}
		return err
	}
	return p.Close()
}

// The capabilities of the XDP engine, beside that of raw sockets.
func xdpCapabilities() []sock.Capability {
	return []sock.Capability{sock.CapNetAdmin, sock.CapBPF, sock.CapPerfmon}
}

func (m *machine) privilegeFindings() findings {
	f := findings{group: "privileges"}
	f.ok("none needed", "scan by connect and udp, talk, echo, listen")
	if m.system != "linux" {
		f.note("SYN scans", "--method syn needs Linux")
		f.note("ping", "--alive asks by TCP only: ICMP echo needs Linux")
		return f
	}
	switch {
	case m.raw == nil:
		f.ok("raw sockets", "%v: --method syn", sock.CapNetRaw)
	case errors.Is(m.raw, os.ErrPermission):
		m.grant(&f, "raw sockets", "--method syn", m.setcap(sock.CapNetRaw), sock.CapNetRaw)
	default:
		f.note("raw sockets", "no --method syn: %v", m.raw)
	}
	switch missing := m.privileges.Effective.Lacking(xdpCapabilities()...); {
	case m.privileges.InUserNamespace:
		f.note("XDP engine", "no --engine xdp: what this user namespace grants does not count for XDP")
	case len(missing) > 0:
		m.grant(&f, "XDP engine", "--engine xdp", m.setcap(append([]sock.Capability{sock.CapNetRaw}, xdpCapabilities()...)...), missing...)
	default:
		f.ok("XDP engine", "%s: --engine xdp", inWords(xdpCapabilities()))
	}
	switch {
	case m.ping == nil:
		f.ok("ping", "--alive asks by ICMP echo too")
	case errors.Is(m.ping, os.ErrPermission):
		f.lack("ping", m.sudo(`sysctl -w net.ipv4.ping_group_range="0 2147483647"`), "--alive asks by TCP only: no ICMP echo for this user's groups")
	default:
		f.note("ping", "--alive asks by TCP only: %v", m.ping)
	}
	return f
}

// grant tells that capabilities are missing, and by which command the program gets them, if it can get them here.
func (m *machine) grant(f *findings, name, what, command string, missing ...sock.Capability) {
	text := fmt.Sprintf("no %s: no %s", inWords(missing), what)
	switch {
	case m.privileges.NoNew:
		f.note(name, "%s; nothing started here can get more (no_new_privs)", text)
	case len(m.privileges.Bounding.Lacking(missing...)) > 0:
		f.note(name, "%s; nothing started here can have them: a container gets them by --cap-add", text)
	default:
		f.lack(name, command, "%s", text)
	}
}

// setcap is the command that gives this program capabilities. What 'go run' made is gone when it ends.
func (m *machine) setcap(all ...sock.Capability) string {
	before, program := "", m.program
	if dir := filepath.ToSlash(filepath.Dir(program)); strings.Contains(dir, "/go-build") && strings.HasSuffix(dir, "/exe") {
		before, program = "go build && ", "./sonde"
	}
	return before + m.sudo("setcap "+strings.ToLower(strings.ReplaceAll(inWords(all), ", ", ","))+"+ep "+quoted(program))
}

// sudo is a command as root has to run it.
func (m *machine) sudo(command string) string {
	if m.root {
		return command
	}
	return "sudo " + command
}

// quoted makes a path one word for a shell.
func quoted(path string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+:@%,="
	if strings.Trim(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func inWords(all []sock.Capability) string {
	words := make([]string, len(all))
	for i, c := range all {
		words[i] = c.String()
	}
	return strings.Join(words, ", ")
}

// Live frames, by which the XDP engine sends, are in Linux since this version.
const liveMajor, liveMinor = 5, 18

func (m *machine) kernelFindings() findings {
	f := findings{group: "kernel"}
	if m.system != "linux" {
		return f
	}
	f.ok("Linux", "%s", m.kernel)
	tooOld := errors.Is(m.xdp, xdp.ErrTooOld)
	entitled := !m.privileges.InUserNamespace && len(m.privileges.Effective.Lacking(xdpCapabilities()...)) == 0
	switch refused := errors.Is(m.xdp, os.ErrPermission); {
	case m.xdp == nil, tooOld:
		f.ok("bpf(2)", "it took the XDP engine's program")
	case refused && !entitled:
		f.note("bpf(2)", "not tried: it takes the privileges of the XDP engine")
	case m.privileges.Filtered && (refused || errors.Is(m.xdp, errors.ErrUnsupported)):
		f.note("bpf(2)", "no --engine xdp: a seccomp filter forbids it; a container gets it by --security-opt seccomp=unconfined")
	default:
		f.note("bpf(2)", "no --engine xdp: %v", m.xdp)
	}
	switch {
	case m.xdp == nil:
		f.ok("live frames", "the XDP engine's program was run, and sent nothing")
	case tooOld || !atLeast(m.kernel, liveMajor, liveMinor):
		f.note("live frames", "no --engine xdp: they need Linux %d.%d", liveMajor, liveMinor)
	default:
		f.ok("live frames", "Linux %d.%d and later have them (not tried)", liveMajor, liveMinor)
	}
	return f
}

// atLeast reports whether a kernel's release is of a version or a later one.
func atLeast(release string, major, minor int) bool {
	var is, dot int
	_, err := fmt.Sscanf(release, "%d.%d", &is, &dot)
	return err == nil && (is > major || is == major && dot >= minor)
}

func (m *machine) interfaceFindings() findings {
	f := findings{group: "interfaces"}
	all, err := net.Interfaces()
	if err != nil {
		f.note("all", "they cannot be read: %v", err)
	}
	for _, i := range all {
		features, ferr := xdp.ReadFeatures(i.Index)
		m.tellInterface(&f, i, features, ferr == nil)
	}
	return f
}

// tellInterface tells of one. On systems where nothing can be read of it, it is up or down.
func (m *machine) tellInterface(f *findings, i net.Interface, x xdp.Features, known bool) {
	text := []string{"up"}
	if i.Flags&net.FlagUp == 0 {
		text[0] = "down"
	}
	if known && !x.Ethernet {
		text = append(text, "no Ethernet")
	}
	if x.Driver != "" {
		text = append(text, x.Driver)
	}
	line := fmt.Sprintf("%s, MTU %d", strings.Join(text, ", "), i.MTU)
	fit, why := fitness(x)
	switch down := i.Flags&net.FlagUp == 0; {
	case down && i.Flags&net.FlagLoopback != 0 && m.system == "linux":
		f.lack(i.Name, m.sudo("ip link set "+i.Name+" up"), "%s: this machine cannot be scanned from itself", line)
	case down:
		f.note(i.Name, "%s", line)
	case !known:
		f.ok(i.Name, "%s", line)
	case fit:
		f.ok(i.Name, "%s; %s: --engine xdp", line, why)
	case !x.Ethernet:
		f.ok(i.Name, "%s: --engine raw", line)
	default:
		f.note(i.Name, "%s; %s: --engine raw", line, why)
	}
}

// fitness reports whether the XDP engine can be tried on an interface, and what speaks for it or against it.
func fitness(x xdp.Features) (fit bool, why string) {
	switch {
	case !x.Ethernet:
		return false, "no Ethernet"
	case x.Program != 0:
		return false, fmt.Sprintf("another XDP program is attached (number %d)", x.Program)
	}
	runs := "a driver of which this kernel tells nothing"
	switch x.Native {
	case xdp.No:
		runs = "XDP behind the driver"
	case xdp.Yes:
		runs = "XDP in the driver"
	}
	switch {
	case x.Redirects == xdp.Yes:
		return true, runs + ", which sends redirected frames"
	case x.Redirects == xdp.Unknown:
		return true, runs + ", which may send redirected frames (a scan tries it first)"
	case x.Driver == "veth":
		return false, runs + ", but redirected frames are swallowed: the other end has neither XDP nor GRO"
	}
	return false, runs + ", which does not send redirected frames"
}
