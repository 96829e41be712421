package lab_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// roleEnv tells TestRole what to do. The tests below run it in a copy of this program, to see what becomes of it.
const roleEnv = "LAB_TEST_ROLE"

func TestRole(t *testing.T) {
	role := os.Getenv(roleEnv)
	if role == "" {
		t.Skip("a part played for the tests of Enter")
	}
	t.Run("first half", func(t *testing.T) { play(t, role) })
}

func play(t *testing.T, role string) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	switch role {
	case "pass":
	case "fail":
		t.Error("words of a failure")
	case "skip":
		t.Skip("words of a skip")
	case "panic":
		panic("words of a panic")
	case "bad sysctl":
		net.Host(t, lab.Config{Sysctls: map[string]string{"net.nonsense": "1"}})
	case "bad rule":
		net.Host(t, lab.Config{Rules: []lab.Rule{{Proto: probe.UDP, Do: lab.Reset}}})
	case "port in use":
		net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(80)}, {Ports: lab.Port(80)}}})
	case "hang":
		net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(80)}}}).Behind(t, lab.Config{})
		fmt.Println("pids", os.Getpid(), strings.Join(children(t), " "), "end")
		time.Sleep(time.Hour)
	}
}

// roleCommand returns a copy of this program that plays a role. It knows nothing of being in the lab already.
func roleCommand(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"-test.v", "-test.run=^TestRole$"}, args...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SONDE_LAB_") }), roleEnv+"="+role)
	return cmd
}

// TestVerdicts holds that a test ends outside as it did inside, and that the reason can be read.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	if lab.Enter(t) == nil {
		return
	}
	for _, test := range []struct {
		role, output string
		fails        bool
	}{
		{"pass", `(?m)^    --- PASS: TestRole/first_half`, false},
		{"skip", `(?s)words of a skip.*    --- SKIP: TestRole/first_half`, false},
		{"fail", `(?s)words of a failure.*failed inside the lab`, true},
		{"panic", `(?s)words of a panic.*failed inside the lab`, true},
		{"bad sysctl", `set sysctl net.nonsense to "1".*no such file`, true},
		{"bad rule", `rule 0: flags and resets are TCP's, not udp's`, true},
		{"port in use", `listen on tcp port 80: address already in use`, true},
	} {
		t.Run(test.role, func(t *testing.T) {
			output, err := roleCommand(test.role).CombinedOutput()
			if failed := err != nil; failed != test.fails {
				t.Errorf("ended with %v", err)
			}
			if !regexp.MustCompile(test.output).Match(output) {
				t.Errorf("output does not match %s:\n%s", test.output, output)
			}
		})
	}
}

// TestSelection holds that what the user selects outside is what runs inside.
func TestSelection(t *testing.T) {
	t.Parallel()
	if lab.Enter(t) == nil {
		return
	}
	output, err := roleCommand("", "-test.run=^TestServices$/ipv4").CombinedOutput()
	if err != nil || !bytes.Contains(output, []byte("PASS: TestServices/ipv4")) || bytes.Contains(output, []byte("TestServices/ipv6")) {
		t.Errorf("%v; output:\n%s", err, output)
	}
}

// TestNothingOutlivesTheTest kills a test process, as a time-out or an impatient user does, and waits for all that it started to go.
func TestNothingOutlivesTheTest(t *testing.T) {
	t.Parallel()
	if lab.Enter(t) == nil {
		return
	}
	cmd := roleCommand("hang")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for lines := bufio.NewScanner(out); pids == nil && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "pids "); ok {
			pids = strings.Fields(strings.TrimSuffix(rest, "end"))
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed, as told
	if len(pids) != 3 {
		t.Fatalf("a test with two hosts told of processes %v", pids)
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(long); alive(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %s of %v outlives the test", pid, pids)
			}
		}
	}
}

// alive reports whether a process runs; one that has ended and that nobody has waited for does not.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func BenchmarkConnect(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	host := net.Host(b, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(80), Do: lab.Hangup}}})
	for b.Loop() {
		if err := connect(host.IPv4, 80, long); err != nil {
			b.Fatal(err)
		}
	}
}
