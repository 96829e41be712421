package cli

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/sock"
	"sonde/internal/sock/socktest"
)

// fenced runs sonde behind a fence and returns what it prints, and how it ended.
func fenced(t *testing.T, fence socktest.Fence, args ...string) (text string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Args[0], cmd.Dir = "sonde", "/"
	fence.Run(t, func() {
		var out []byte
		out, err = cmd.CombinedOutput()
		text = string(out)
	})
	return text, err
}

// Where bpf(2) is forbidden or not there, a SYN scan goes by raw sockets and says why; where raw sockets are not allowed it says what gives
// the right to them, and what needs none.
func TestSYNWithoutPrivileges(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	net.Host(t, lab.Config{GRO: true, Wire: lab.Answerer, Local: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}})
	big := []string{"scan", "10.77.0.0/16", "-p", "1,2", "--method", "syn", "--rate", "max", "--attempts", "1", "--open", "-o", "json=/dev/null"}
	for name, errno := range map[string]unix.Errno{"forbidden": unix.EPERM, "hidden": unix.ENOSYS} {
		text, err := fenced(t, socktest.Fence{BPF: errno}, big...)
		if err != nil || !strings.Contains(text, "sonde: engine: raw sockets (not by XDP: ") {
			t.Errorf("bpf(2) %s: %v, %s", name, err, text)
		}
		text, err = fenced(t, socktest.Fence{BPF: errno}, append(big, "--engine", "xdp")...)
		if err == nil || !strings.Contains(text, "sonde: error: --engine xdp cannot be had: ") || !strings.Contains(text, "sonde: hint: or use raw sockets: --engine raw") {
			t.Errorf("bpf(2) %s, --engine xdp: %v, %s", name, err, text)
		}
	}
	text, err := fenced(t, socktest.Fence{Drop: []sock.Capability{sock.CapNetRaw}}, "scan", "10.77.0.1", "-p", "1", "--method", "syn")
	if err == nil || !strings.Contains(text, "--method syn needs raw sockets") || !strings.Contains(text, "sudo setcap cap_net_raw+ep ") ||
		!strings.Contains(text, "--method connect") {
		t.Errorf("without CAP_NET_RAW: %v, %s", err, text)
	}
}
