package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The echo benchmarks have a processor for the client and one for the servers, of which one at a time has work. On a machine that is
// not quiet SONDE_BENCH_REALTIME=1 puts both ends before all others (sched(7), SCHED_RR; it takes root): the ratios then
// hold, the longest latencies tell of the 50 ms a second that the kernel keeps for the others.
const realtimePriority = 10

// processors returns that of the client and that of the servers, or skips.
func processors(b *testing.B) (client, servers int) {
	b.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		b.Fatal(err)
	}
	var found []int
	for cpu := 0; len(found) < 2 && cpu < len(set)*64; cpu++ {
		if set.IsSet(cpu) {
			found = append(found, cpu)
		}
	}
	if len(found) < 2 {
		b.Skip("client and server need a processor each, and this machine has one")
	}
	return found[0], found[1]
}

// startOn starts a program that stays on one processor, and so do all its threads. A child has what the thread has that starts it.
func startOn(b *testing.B, cpu int, cmd *exec.Cmd) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
}

// prioritize puts all threads of a process, and those that they will start, before other processes' if that is asked for.
func prioritize(b *testing.B, pid int) {
	b.Helper()
	if os.Getenv("SONDE_BENCH_REALTIME") == "" {
		return
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: realtimePriority}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.SchedSetAttr(tid, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			b.Fatalf("SONDE_BENCH_REALTIME: %v", err)
		}
	}
}

// compile builds a C program of testdata, all files of a directory, or skips.
func compile(b *testing.B, dir string) string {
	b.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.c"))
	if err != nil || len(files) == 0 {
		b.Fatalf("no C program in testdata/%s (%v)", dir, err)
	}
	path := filepath.Join(b.TempDir(), dir)
	if out, err := exec.Command(compiler(b), append([]string{"-O2", "-o", path}, files...)...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", dir, err, out)
	}
	return path
}

func compiler(b *testing.B) string {
	b.Helper()
	for _, name := range []string{os.Getenv("CC"), "cc", "gcc", "clang"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	b.Skip("the reference servers and the client are in C, and there is no C compiler")
	return ""
}

// A server is an echo server on the servers' processor.
type server struct {
	name string
	addr netip.AddrPort
	pid  int
}

// serve starts an echo server that says where it listens, as sonde does; it ends with the benchmark.
func serve(b *testing.B, cpu int, name, path string, args ...string) *server {
	b.Helper()
	cmd := exec.Command(path, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	var log strings.Builder
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	startOn(b, cpu, cmd)
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if addr, ok := listening(lines.Text()); ok {
			prioritize(b, cmd.Process.Pid)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return &server{name, addr, cmd.Process.Pid}
		}
		log.WriteString(lines.Text() + "\n")
	}
	b.Skipf("%s %v does not say where it listens: %s", name, args, log.String())
	return nil
}

// listening reads a line like "listening tcp 127.0.0.1:9999".
func listening(line string) (netip.AddrPort, bool) {
	words := strings.Fields(line)
	if len(words) < 3 || words[0] != "listening" {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddrPort(words[2])
	return addr, err == nil
}

// A load is what testdata/load says of what it did.
type load struct {
	Requests                     uint64
	Seconds                      float64
	Bytes                        uint64
	P50                          float64 `json:"p50_us"`
	P99                          float64 `json:"p99_us"`
	Max                          float64 `json:"max_us"`
	Sent, Lost, Changed, Doubled uint64
	used                         time.Duration // by the server, of its processor
	busy                         float64       // how much of its processor the client used
}

func (l load) perSecond() float64      { return float64(l.Requests) / l.Seconds }
func (l load) bytesPerSecond() float64 { return float64(l.Bytes) / l.Seconds }

// cost is the server's processor time for each of what was sent (messages, datagrams, or bulk's bytes), in ns.
func (l load) cost() float64 { return float64(l.used.Nanoseconds()) / float64(l.Sent) }

// parseLoad reads it, and says what must not be: that anything came back as it was not sent, or twice.
func parseLoad(out []byte) (load, error) {
	var l load
	if err := json.Unmarshal(out, &l); err != nil {
		return l, fmt.Errorf("%w in %q", err, out)
	}
	if l.Changed > 0 || l.Doubled > 0 {
		return l, fmt.Errorf("%d changed and %d doubled of %d", l.Changed, l.Doubled, l.Sent)
	}
	return l, nil
}

// load runs the client on its processor, and returns what it says.
func (s *server) load(b *testing.B, cpu int, client, mode string, options ...string) load {
	b.Helper()
	if os.Getenv("SONDE_BENCH_REALTIME") != "" {
		time.Sleep(60 * time.Millisecond) // the others' turn: who had none for 950 ms takes it (sched_rt_runtime_us)
	}
	l, err := s.begin(b, cpu, client, mode, options...)()
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// begin starts the client, and returns what waits for its end.
func (s *server) begin(b *testing.B, cpu int, client, mode string, options ...string) (end func() (load, error)) {
	b.Helper()
	var out, errs strings.Builder
	cmd := exec.Command(client, append([]string{mode, s.addr.Addr().String(), fmt.Sprint(s.addr.Port())}, options...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	startOn(b, cpu, cmd)
	prioritize(b, cmd.Process.Pid)
	return func() (load, error) {
		err := cmd.Wait()
		busy := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / time.Since(start).Seconds()
		if err != nil {
			return load{}, fmt.Errorf("%s: load %s %v: %w: %s", s.name, mode, options, err, errs.String())
		}
		l, err := parseLoad([]byte(out.String()))
		l.busy = busy
		if err != nil {
			err = fmt.Errorf("%s: load %s %v: %w", s.name, mode, options, err)
		}
		return l, err
	}
}

// middleOf is the median of what of gives for each pair of rounds.
func middleOf(ours, theirs []load, of func(load) float64) float64 {
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, of(ours[i])/of(theirs[i]))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}
