package xdp

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
	"sonde/internal/sock"
	"sonde/internal/sock/socktest"
)

// can skips a test where the engine cannot be had, unless that itself is a failure.
func can(t *testing.T) {
	t.Helper()
	err := Available()
	if err == nil {
		return
	}
	p, perr := sock.ReadPrivileges()
	mayAll := perr == nil && !p.InUserNamespace && !p.Filtered && len(p.Effective.Lacking(sock.CapBPF, sock.CapNetAdmin, sock.CapPerfmon)) == 0
	if mayAll && !errors.Is(err, ErrTooOld) {
		t.Fatalf("with all privileges: %v", err)
	}
	t.Skipf("no XDP here: %v", err)
}

func TestAvailableSendsNothing(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	can(t)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	before, err := readCounters(lo.Index)
	if err == nil {
		err = Available()
	}
	after, lerr := readCounters(lo.Index)
	if err != nil || lerr != nil || after.sent != before.sent {
		t.Errorf("%d packets left (%v, %v), want none", after.sent-before.sent, err, lerr)
	}
}

// Why the engine cannot be had is told apart.
func TestUnavailable(t *testing.T) {
	can(t)         // what is known of the kernel is remembered: that it runs programs, for one
	const run = 10 // BPF_PROG_TEST_RUN
	caps := []sock.Capability{sock.CapNetAdmin, sock.CapPerfmon, sock.CapBPF, 21}
	for name, c := range map[string]struct {
		fence socktest.Fence
		want  error
	}{
		"no capabilities":      {socktest.Fence{Drop: caps}, os.ErrPermission},
		"no CAP_NET_ADMIN":     {socktest.Fence{Drop: []sock.Capability{sock.CapNetAdmin, 21}}, os.ErrPermission},
		"no CAP_PERFMON":       {socktest.Fence{Drop: []sock.Capability{sock.CapPerfmon, 21}}, os.ErrPermission},
		"bpf(2) is refused":    {socktest.Fence{BPF: unix.EPERM}, os.ErrPermission},
		"there is no bpf(2)":   {socktest.Fence{BPF: unix.ENOSYS}, errors.ErrUnsupported},
		"there are no flags":   {socktest.Fence{BPF: unix.EINVAL, Command: run}, ErrTooOld},
		"runs fail by another": {socktest.Fence{BPF: unix.E2BIG, Command: run}, syscall.E2BIG},
	} {
		c.fence.Run(t, func() {
			if err := Available(); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		})
	}
}

func TestFeatures(t *testing.T) {
	lan := lab.Enter(t)
	if lan == nil {
		return
	}
	if f := features(t, "lo"); f.Ethernet || f.Program != 0 {
		t.Errorf("loopback is %+v", f)
	}
	plain, gro := lan.Host(t, lab.Config{}), lan.Host(t, lab.Config{GRO: true})
	old := errors.Is(netdevFamily(), os.ErrNotExist)
	for device, redirects := range map[string]Ability{plain.Device: No, gro.Device: Yes} {
		want := Features{Driver: "veth", Ethernet: true, Native: Yes, Redirects: redirects}
		if old { // Linux 6.3
			want.Native, want.Redirects = Unknown, Unknown
		}
		if got := features(t, device); got != want {
			t.Errorf("%s is %+v, want %+v", device, got, want)
		}
	}
	if _, err := ReadFeatures(1 << 30); err == nil || !strings.Contains(err.Error(), "1073741824") {
		t.Errorf("an interface that there is not: %v", err)
	}
	can(t)
	e, err := Open(Config{Ports: 1, Batch: 1, Ring: os.Getpagesize()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	i, err := net.InterfaceByName(gro.Device)
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.attachAs(i.Index, link.XDPGenericMode)
	if err != nil {
		t.Fatal(err)
	}
	if f := features(t, gro.Device); f.Program == 0 {
		t.Errorf("with a program: %+v", f)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if f := features(t, gro.Device); f.Program != 0 {
		t.Errorf("without it: %+v", f)
	}
}

// netdevFamily is os.ErrNotExist where the kernel is too old to know features.
func netdevFamily() error {
	_, err := abilities(1)
	if errors.Is(err, unix.ENOENT) {
		return os.ErrNotExist
	}
	return nil
}

func features(t *testing.T, device string) Features {
	t.Helper()
	i, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	f, err := ReadFeatures(i.Index)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What drivers say of themselves, and what to make of it.
func TestJudge(t *testing.T) {
	const redirect, segments = 1 << 1, 1 << 5
	for _, c := range []struct {
		driver            string
		can               uint64
		native, redirects Ability
	}{
		{"virtio_net", canBasic | redirect | segments, Yes, Unknown}, // without a program attached
		{"virtio_net", canBasic | redirect | canNdoXmit, Yes, Yes},   // with one
		{"veth", canBasic | redirect | segments, Yes, No},
		{"veth", canBasic | redirect | canNdoXmit, Yes, Yes},
		{"ifb", 0, No, No},
		{"bonding", canNdoXmit, No, Yes},
	} {
		if native, redirects := judge(c.can, c.driver); native != c.native || redirects != c.redirects {
			t.Errorf("%s with %#x: %d and %d, want %d and %d", c.driver, c.can, native, redirects, c.native, c.redirects)
		}
	}
}
