package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/sock"
	"sonde/internal/sock/socktest"
)

// diagnose runs 'sonde doctor' behind a fence, as nobody if so wanted, and returns its findings by name.
func diagnose(t *testing.T, fence socktest.Fence, nobody bool, targets ...string) map[string]finding {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"doctor", "-o", "json"}, targets...)...)
	var out, errOut bytes.Buffer
	cmd.Args[0], cmd.Dir, cmd.Stdout, cmd.Stderr = "sonde", "/", &out, &errOut
	if nobody {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var err error
	fence.Run(t, func() { err = cmd.Run() })
	if err != nil || errOut.Len() > 0 {
		t.Fatalf("sonde doctor: %v: %s", err, &errOut)
	}
	all := map[string]finding{}
	for d := json.NewDecoder(&out); ; {
		var f finding
		if err := d.Decode(&f); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("sonde doctor: %v in %s", err, &out)
		}
		all[f.Name] = f
	}
}

func expect(t *testing.T, all map[string]finding, name, status, says string) {
	t.Helper()
	f := all[name]
	if f.Status != status || !strings.Contains(f.Finding+" "+f.Command, says) {
		t.Errorf("%s: %q %q %q, want %q and something of %q", name, f.Status, f.Finding, f.Command, status, says)
	}
}

// Without privileges each lack has the command that mends it, and what needs none is there.
func TestDoctorAsNobody(t *testing.T) {
	root := os.Geteuid() == 0
	p, err := sock.ReadPrivileges()
	if err != nil {
		t.Fatal(err)
	}
	if p.InUserNamespace || p.NoNew || !root && p.Effective != 0 || len(p.Bounding.Lacking(xdpCapabilities()...)) > 0 {
		t.Skip("this process can get no privileges, or has some and cannot lose them")
	}
	all := diagnose(t, socktest.Fence{}, root, "127.0.0.1")
	expect(t, all, "none needed", isOK, "scan")
	expect(t, all, "raw sockets", isLack, "sudo setcap cap_net_raw+ep /")
	expect(t, all, "XDP engine", isLack, "sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep /")
	expect(t, all, "bpf(2)", isNote, "not tried")
	expect(t, all, "way", isOK, "this machine itself")
	expect(t, all, "engine", isNote, "none")
}

// What is in the way of the XDP engine is told apart.
func TestDoctorFenced(t *testing.T) {
	all := diagnose(t, socktest.Fence{}, false)
	if all["bpf(2)"].Status != isOK || all["raw sockets"].Status != isOK {
		t.Skipf("nothing can be taken from what is not there: %q, %q", all["bpf(2)"].Finding, all["raw sockets"].Finding)
	}
	for name, errno := range map[string]syscall.Errno{"forbids": unix.EPERM, "hides": unix.ENOSYS} {
		t.Run(name, func(t *testing.T) {
			all := diagnose(t, socktest.Fence{BPF: errno}, false)
			expect(t, all, "XDP engine", isOK, "CAP_BPF")
			expect(t, all, "bpf(2)", isNote, "seccomp")
		})
	}
	sysAdmin := sock.Capability(unix.CAP_SYS_ADMIN) // it stands for CAP_BPF and CAP_PERFMON
	all = diagnose(t, socktest.Fence{Drop: []sock.Capability{sock.CapBPF, sysAdmin}}, false)
	expect(t, all, "raw sockets", isOK, "CAP_NET_RAW")
	expect(t, all, "XDP engine", isNote, "no CAP_BPF: no --engine xdp; nothing started here can have them")
	expect(t, all, "bpf(2)", isNote, "not tried")
	all = diagnose(t, socktest.Fence{Drop: []sock.Capability{sock.CapNetRaw}}, false)
	expect(t, all, "raw sockets", isNote, "no CAP_NET_RAW: no --method syn; nothing started here can have them")
}

// The way to an address on a link is told without asking the link for it.
func TestDoctorAsksNobody(t *testing.T) {
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	host := lan.Host(t, lab.Config{})
	all := diagnose(t, socktest.Fence{}, false, host.IPv4.String())
	expect(t, all, "way", isOK, host.Device+", on the link, from ")
	expect(t, all, "link address", isOK, "not known yet; ARP")
	table, err := sock.ReadNeighbors()
	if err != nil || table[host.IPv4] != sock.NeighborUnknown {
		t.Errorf("the kernel was made to ask for %v: %v, %v", host.IPv4, table[host.IPv4], err)
	}
}
