package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/route"
	"sonde/internal/sock"
	"sonde/internal/xdp"
)

const allCapabilities = sock.CapabilitySet(1<<sock.CapNetRaw | 1<<sock.CapNetAdmin | 1<<sock.CapBPF | 1<<sock.CapPerfmon | 1<<sock.CapSysResource)

// able is a machine that has everything.
func able() machine {
	return machine{system: "linux", program: "/usr/bin/sonde", kernel: "6.12.1", root: true,
		privileges: sock.Privileges{Effective: allCapabilities, Bounding: allCapabilities}}
}

// bare is one for who is not root.
func bare() machine {
	m := able()
	m.root, m.privileges.Effective = false, 0
	m.raw, m.ping, m.xdp = fs.ErrPermission, fs.ErrPermission, fs.ErrPermission
	return m
}

// short is findings in few words: a lack with its command, of the others the first word of a finding that says why.
func short(t *testing.T, f findings) (words []string) {
	t.Helper()
	for _, one := range f.all {
		if (one.Status == isLack) != (one.Command != "") || one.Finding == "" || one.Name == "" || one.Group == "" {
			t.Errorf("%+v: a lack has a command, and nothing else has", one)
		}
		words = append(words, strings.TrimSpace(one.Status+" "+one.Name+": "+one.Command))
	}
	return words
}

func TestDoctorPrivileges(t *testing.T) {
	const ping = `sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"`
	for name, c := range map[string]struct {
		change func(*machine)
		want   []string
	}{
		"all": {func(m *machine) { *m = able() }, []string{"ok none needed:", "ok raw sockets:", "ok XDP engine:", "ok ping:"}},
		"none": {func(*machine) {}, []string{"ok none needed:",
			"lack raw sockets: sudo setcap cap_net_raw+ep /usr/bin/sonde",
			"lack XDP engine: sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep /usr/bin/sonde",
			"lack ping: " + ping}},
		"a path with a blank": {func(m *machine) { m.program = "/home/it's me/sonde"; m.ping, m.raw = nil, nil }, []string{"ok none needed:", "ok raw sockets:",
			`lack XDP engine: sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep '/home/it'\''s me/sonde'`, "ok ping:"}},
		"go run": {func(m *machine) {
			m.program = "/tmp/go-build12/b001/exe/sonde"
			m.ping, m.privileges.Effective = nil, allCapabilities
		}, []string{
			"ok none needed:", "lack raw sockets: go build && sudo setcap cap_net_raw+ep ./sonde", "ok XDP engine:", "ok ping:"}},
		"a container":        {func(m *machine) { m.privileges.Bounding = 0; m.ping = nil }, []string{"ok none needed:", "note raw sockets:", "note XDP engine:", "ok ping:"}},
		"no new privileges":  {func(m *machine) { m.privileges.NoNew = true; m.ping = nil }, []string{"ok none needed:", "note raw sockets:", "note XDP engine:", "ok ping:"}},
		"a user namespace":   {func(m *machine) { *m = able(); m.privileges.InUserNamespace = true }, []string{"ok none needed:", "ok raw sockets:", "note XDP engine:", "ok ping:"}},
		"something else":     {func(m *machine) { m.raw, m.ping = net.ErrClosed, net.ErrClosed; m.privileges = able().privileges }, []string{"ok none needed:", "note raw sockets:", "ok XDP engine:", "note ping:"}},
		"another system":     {func(m *machine) { m.system = "darwin" }, []string{"ok none needed:", "note SYN scans:", "note ping:"}},
		"root without a few": {func(m *machine) { m.root = true; m.ping, m.raw = nil, nil }, []string{"ok none needed:", "ok raw sockets:", "lack XDP engine: setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep /usr/bin/sonde", "ok ping:"}},
	} {
		m := bare()
		c.change(&m)
		if diff := cmp.Diff(c.want, short(t, m.privilegeFindings())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDoctorKernel(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine)
		want   []string
		says   string // the line on bpf(2)
	}{
		"all":            {func(*machine) {}, []string{"ok Linux:", "ok bpf(2):", "ok live frames:"}, "took"},
		"no flags":       {func(m *machine) { m.xdp = fmt.Errorf("run: %w", xdp.ErrTooOld) }, []string{"ok Linux:", "ok bpf(2):", "note live frames:"}, "took"},
		"not tried":      {func(m *machine) { *m = bare() }, []string{"ok Linux:", "note bpf(2):", "ok live frames:"}, "not tried"},
		"not tried, old": {func(m *machine) { *m = bare(); m.kernel = "5.17.9" }, []string{"ok Linux:", "note bpf(2):", "note live frames:"}, "not tried"},
		"refused by seccomp": {func(m *machine) { m.xdp = fs.ErrPermission; m.privileges.Filtered = true }, []string{"ok Linux:", "note bpf(2):", "ok live frames:"},
			"seccomp"},
		"hidden by seccomp": {func(m *machine) { m.xdp = errors.ErrUnsupported; m.privileges.Filtered = true }, []string{"ok Linux:", "note bpf(2):", "ok live frames:"},
			"seccomp"},
		"refused by somebody": {func(m *machine) { m.xdp = fs.ErrPermission }, []string{"ok Linux:", "note bpf(2):", "ok live frames:"}, fs.ErrPermission.Error()},
		"in a user namespace": {func(m *machine) { m.xdp = fs.ErrPermission; m.privileges.InUserNamespace = true }, []string{"ok Linux:", "note bpf(2):", "ok live frames:"},
			"not tried"},
		"another system": {func(m *machine) { m.system = "darwin" }, nil, ""},
	} {
		m := able()
		c.change(&m)
		f := m.kernelFindings()
		if diff := cmp.Diff(c.want, short(t, f)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if c.want != nil && !strings.Contains(f.all[1].Finding, c.says) {
			t.Errorf("%s: %q says nothing of %q", name, f.all[1].Finding, c.says)
		}
	}
	for release, want := range map[string]bool{"5.17.99": false, "5.18": true, "5.18.0-rc1": true, "6.0-x": true, "4.19": false, "": false} {
		if atLeast(release, 5, 18) != want {
			t.Errorf("%q is at least 5.18: %v", release, !want)
		}
	}
}

func TestDoctorInterfaces(t *testing.T) {
	const up = net.FlagUp
	veth := xdp.Features{Driver: "veth", Ethernet: true, Native: xdp.Yes, Redirects: xdp.Yes}
	for _, c := range []struct {
		flags  net.Flags
		change func(*xdp.Features)
		want   string
	}{
		{up, func(*xdp.Features) {}, "ok if0: up, veth, MTU 1500; XDP in the driver, which sends redirected frames: --engine xdp"},
		{0, func(*xdp.Features) {}, "note if0: down, veth, MTU 1500"},
		{net.FlagLoopback, func(x *xdp.Features) { *x = xdp.Features{} }, "lack if0: down, no Ethernet, MTU 1500: this machine cannot be scanned from itself"},
		{up | net.FlagLoopback, func(x *xdp.Features) { *x = xdp.Features{} }, "ok if0: up, no Ethernet, MTU 1500: --engine raw"},
		{up, func(x *xdp.Features) { x.Redirects = xdp.No }, "note if0: up, veth, MTU 1500; XDP in the driver, but redirected frames are swallowed: the other end has neither XDP nor GRO: --engine raw"},
		{up, func(x *xdp.Features) { x.Program = 7 }, "note if0: up, veth, MTU 1500; another XDP program is attached (number 7): --engine raw"},
		{up, func(x *xdp.Features) { x.Driver, x.Redirects = "virtio_net", xdp.Unknown }, "ok if0: up, virtio_net, MTU 1500; XDP in the driver, which may send redirected frames (a scan tries it first): --engine xdp"},
		{up, func(x *xdp.Features) { x.Driver, x.Native, x.Redirects = "ifb", xdp.No, xdp.No }, "note if0: up, ifb, MTU 1500; XDP behind the driver, which does not send redirected frames: --engine raw"},
		{up, func(x *xdp.Features) { x.Driver, x.Native = "bonding", xdp.No }, "ok if0: up, bonding, MTU 1500; XDP behind the driver, which sends redirected frames: --engine xdp"},
	} {
		m, f, x := able(), findings{group: "interfaces"}, veth
		c.change(&x)
		m.tellInterface(&f, net.Interface{Name: "if0", MTU: 1500, Flags: c.flags}, x, true)
		if got := f.all[0].Status + " if0: " + f.all[0].Finding; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		short(t, f)
	}
}

func TestDoctorLimits(t *testing.T) {
	whole := func() limits {
		return limits{files: 1 << 20, firstPort: 32768, lastPort: 60999, neighbors: 1024, network: netip.MustParsePrefix("10.0.0.0/24"), device: "if0"}
	}
	fine := []string{"ok open files:", "ok source ports:", "ok neighbours:"}
	track := func(most, now uint64) func(*limits) {
		return func(l *limits) { l.conntrack.most, l.conntrack.now, l.conntrack.seconds = most, now, 120 }
	}
	with := func(i int, line string) []string {
		return append(append(append([]string{}, fine[:i]...), line), fine[min(i+1, len(fine)):]...)
	}
	for name, c := range map[string]struct {
		change func(*limits)
		want   []string
	}{
		"fine":                            {func(*limits) {}, fine},
		"nothing is known":                {func(l *limits) { *l = limits{} }, nil},
		"few files":                       {func(l *limits) { l.files = 64 }, with(0, "lack open files: prlimit --pid $$ --nofile=65536:65536")},
		"few ports":                       {func(l *limits) { l.firstPort = 60000 }, with(1, `lack source ports: sysctl -w net.ipv4.ip_local_port_range="16384 65535"`)},
		"many reserved":                   {func(l *limits) { l.reserved = 20000 }, with(1, `lack source ports: sysctl -w net.ipv4.ip_local_port_range="16384 65535"`)},
		"no network":                      {func(l *limits) { l.network = netip.Prefix{} }, fine},
		"a network as large as the table": {func(l *limits) { l.network = netip.MustParsePrefix("10.0.0.0/22") }, fine},
		"a larger one":                    {func(l *limits) { l.network = netip.MustParsePrefix("10.0.0.0/16") }, with(2, "lack neighbours: sysctl -w net.ipv4.neigh.default.gc_thresh3=131072")},
		"nothing tracked":                 {track(65536, 0), with(3, "ok conntrack:")},
		"tracked in a small table":        {track(65536, 9), with(3, "lack conntrack: sysctl -w net.netfilter.nf_conntrack_max=1048576")},
		"tracked in a large one":          {track(1<<18, 9), with(3, "note conntrack:")},
	} {
		m, l := able(), whole()
		c.change(&l)
		if diff := cmp.Diff(c.want, short(t, l.findings(&m))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	m := able()
	m.privileges.Bounding &^= 1 << sock.CapSysResource
	l := whole()
	l.files = 64
	if diff := cmp.Diff(with(0, "note open files:"), short(t, l.findings(&m))); diff != "" {
		t.Errorf("few files in a container: %s", diff)
	}
	l = whole()
	track(262144, 24)(&l)
	if f := l.findings(&m); !strings.HasPrefix(f.all[3].Finding, "262,144, 24 in use: more than 2,184 probes/s that nobody answers fill it") {
		t.Errorf("conntrack: %q", f.all[3].Finding)
	}
	for list, want := range map[string]int{"": 0, "8080": 0, "40000": 1, "40000,50000-50009": 11, "100-32769": 2, "60999-65535": 1, "1-65535": 28232} {
		if n := countReserved(list, 32768, 60999); n != want {
			t.Errorf("of %q %d are reserved, want %d", list, n, want)
		}
	}
}

func TestDoctorEngine(t *testing.T) {
	hop := route.Hop{Name: "if0", Ethernet: true}
	veth := xdp.Features{Driver: "veth", Ethernet: true, Native: xdp.Yes, Redirects: xdp.Yes}
	for want, change := range map[string]func(*machine, *route.Hop, *xdp.Features){
		"xdp for 100,000 ports": func(*machine, *route.Hop, *xdp.Features) {},
		"none: ":                func(m *machine, _ *route.Hop, _ *xdp.Features) { *m = bare() },
		"raw: XDP does not see": func(_ *machine, h *route.Hop, _ *xdp.Features) { h.Local = true },
		"raw: no Ethernet":      func(_ *machine, h *route.Hop, x *xdp.Features) { h.Ethernet, *x = false, xdp.Features{} },
		"raw: there is no XDP":  func(m *machine, _ *route.Hop, _ *xdp.Features) { m.xdp = fs.ErrPermission },
		"raw: another XDP":      func(_ *machine, _ *route.Hop, x *xdp.Features) { x.Program = 1 },
	} {
		m, h, x, f := able(), hop, veth, findings{group: "route"}
		change(&m, &h, &x)
		m.tellEngine(&f, &h, x, nil)
		if !strings.HasPrefix(f.all[0].Finding, want) {
			t.Errorf("%q, want %q…", f.all[0].Finding, want)
		}
		short(t, f)
	}
}
