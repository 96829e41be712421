package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// residentNow is the memory that a process has resident now, in bytes (proc_pid_status(5), VmRSS).
func residentNow(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseResident(string(status))
}

func parseResident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS in %q", status)
}

// descriptors is how many a process has open.
func descriptors(pid int) (int, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}

// processorTime is what a process has used, all its threads, those that have ended too.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

// parseStat reads utime and stime, the fields 14 and 15, of proc_pid_stat(5), in ticks of 10 ms (USER_HZ). The second
// field is the program's name in brackets, and may hold anything.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("no times in %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

func TestProcFiles(t *testing.T) {
	if rss, err := parseResident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"); err != nil || rss != 1234<<10 {
		t.Errorf("resident: %d, %v", rss, err)
	}
	if _, err := parseResident("Name:\tkthreadd\n"); err == nil {
		t.Error("a process without memory has some")
	}
	const stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 100 0 0 0 150 50 7 7 20 0 5 0 1000 1 1"
	if used, err := parseStat(stat); err != nil || used != 2*time.Second {
		t.Errorf("processor time: %v, %v", used, err)
	}
	if _, err := parseStat("77 (a) S 1"); err == nil {
		t.Error("a short stat has times")
	}
	if n, err := descriptors(os.Getpid()); err != nil || n < 3 {
		t.Errorf("%d descriptors, %v", n, err)
	}
	if rss, err := residentNow(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("%d bytes resident, %v", rss, err)
	}
}
