package lab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
)

// The environment by which the copies of a test binary know what they are.
const (
	hostEnv    = "SONDE_LAB_HOST"    // set in a host
	outsideEnv = "SONDE_LAB_OUTSIDE" // the namespace that a test was sent from into the lab
	verdictEnv = "SONDE_LAB_VERDICT" // the file that takes what became of it
)

// Main plays the host, and does not return, when the process was started as one. It belongs at the top of TestMain.
func Main() {
	if os.Getenv(hostEnv) == "" {
		return
	}
	if err := play(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lab host:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Enter runs the calling test, or subtest, in the lab. Outside it runs the test again inside, passes on its output
// and its verdict, and returns nil: there is nothing left to do. Inside it returns the network. It goes first in a test, and
// only once. In a benchmark the results printed are those from inside, and the outer one is skipped.
func Enter(t testing.TB) *Net {
	t.Helper()
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		unavailable(t, err)
	}
	if outside := os.Getenv(outsideEnv); outside == "" || outside == here {
		enter(t, here)
		return nil
	}
	t.Cleanup(func() { leaveVerdict(t, os.Getenv(verdictEnv)) })
	if err := bringUp("lo"); err != nil {
		failOrSkip(t, fmt.Errorf("bring up loopback: %w", err))
	}
	return &Net{}
}

// enter runs t in a new network namespace and lets t end as it did.
func enter(t testing.TB, outside string) {
	t.Helper()
	verdict := filepath.Join(t.TempDir(), "verdict")
	// The signal that ends the child with us is sent when the thread that started it ends, so that thread has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := startInside(t, append(os.Environ(), outsideEnv+"="+outside, verdictEnv+"="+verdict, raceEnv()))
	if err != nil {
		unavailable(t, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("failed inside the lab (%v); its output is above", err)
	}
	became, err := os.ReadFile(verdict)
	if err != nil {
		t.Fatalf("the test did not run inside the lab: %v", err)
	}
	if _, bench := t.(*testing.B); bench || string(became) == skipped {
		t.Skipf("%s inside the lab; its output is above", became)
	}
}

// startInside starts t in a new network namespace, and in a new user namespace where the first alone is not permitted.
func startInside(t testing.TB, env []string) (*exec.Cmd, error) {
	plain := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	asUser := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	var errs []error
	for _, attr := range []*syscall.SysProcAttr{plain, asUser} {
		cmd := again(testFlags(t)...)
		cmd.Env, cmd.SysProcAttr = env, attr
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		if _, bench := t.(*testing.B); bench {
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		}
		err := cmd.Start()
		if err == nil {
			return cmd, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w; in a user namespace: %w", errs[0], errs[1])
}

// again returns a command that runs this program once more. What it leaves behind cannot hold up Wait for long.
func again(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// raceEnv keeps the race detector from sleeping a second at the end of each copy.
func raceEnv() string { return "GORACE=" + strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0") }

// testFlags selects t alone, and repeats what the user said of how to run it.
func testFlags(t testing.TB) []string {
	args := []string{"-test.count=1"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	if _, bench := t.(*testing.B); bench {
		args = append(args, "-test.run=^$", "-test.bench="+only(t.Name(), flag.Lookup("test.bench").Value.String()))
	} else {
		args = append(args, "-test.run="+only(t.Name(), flag.Lookup("test.run").Value.String()))
	}
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, ok := d.Deadline(); ok { // a little less, so that it is the inner test that tells where it hangs
			args = append(args, fmt.Sprintf("-test.timeout=%v", time.Until(deadline)*9/10))
		}
	}
	flag.Visit(func(f *flag.Flag) {
		switch {
		case !strings.HasPrefix(f.Name, "test."), f.Name == "test.short", f.Name == "test.benchtime", f.Name == "test.benchmem":
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

// only returns the pattern that matches the test with this name, and of its subtests those that the user's own pattern selects.
func only(name, users string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	if selected := strings.Split(users, "/"); len(selected) > len(parts) && !strings.Contains(users, "|") {
		parts = append(parts, selected[len(parts):]...)
	}
	return strings.Join(parts, "/")
}

// What becomes of a test; a third, failed, is told by the exit code.
const (
	passed  = "passed"
	skipped = "skipped"
)

func leaveVerdict(t testing.TB, file string) {
	verdict := passed
	if t.Skipped() {
		verdict = skipped
	}
	if err := os.WriteFile(file, []byte(verdict), 0o600); err != nil {
		t.Errorf("tell the verdict: %v", err)
	}
}

// failOrSkip ends a test that ran into err: unavailable where that is for want of a privilege or of something
// in the kernel, failed else.
func failOrSkip(t testing.TB, err error) {
	t.Helper()
	if lacking(err) {
		unavailable(t, err)
	}
	t.Fatalf("lab: %v", err)
}

// lacking reports whether err is for want of a privilege or of something in the kernel.
func lacking(err error) bool {
	for _, want := range []error{errors.ErrUnsupported, os.ErrPermission, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.EROFS, ebpf.ErrNotSupported, errLacking} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// errLacking marks an error that a host found lacking; only its words came over the pipe.
var errLacking = errors.New("not available here")

func bringUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}
