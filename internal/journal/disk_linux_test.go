package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// childEnv says to a test that it is the copy of itself that plays the scan, and where.
const childEnv = "SONDE_JOURNAL_CHILD"

// again returns a command that runs the calling test once more, as the child.
func again(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	runtime.LockOSThread() // the child is killed when the thread that started it ends
	t.Cleanup(runtime.UnlockOSThread)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// A scan whose disk is full says so, and what it had written is there when there is room again.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		onSmallDisk(t, dir)
		return
	}
	dir := t.TempDir()
	plain := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	asUser := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	var err error
	for _, attr := range []*syscall.SysProcAttr{plain, asUser} {
		cmd := again(t, dir)
		attr.Pdeathsig = syscall.SIGKILL
		cmd.SysProcAttr = attr
		var out []byte
		if out, err = cmd.CombinedOutput(); err == nil {
			return
		}
		if !errors.Is(err, os.ErrPermission) {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if os.Getenv("SONDE_LAB") == "require" {
		t.Fatal(err)
	}
	t.Skipf("no namespace of its own to mount a small disk in: %v", err)
}

// mount puts a disk of a size into a directory of this namespace.
func mount(t *testing.T, dir string, flags uintptr, size string) {
	t.Helper()
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount("tmpfs", dir, "tmpfs", flags, "size="+size)); err != nil {
		t.Fatal(err)
	}
}

func onSmallDisk(t *testing.T, dir string) {
	mount(t, dir, 0, "64k")
	path, other := filepath.Join(dir, "scan.journal"), filepath.Join(dir, "other")
	if err := os.WriteFile(other, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	full := func(err error) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
			t.Fatalf("error %v, want one that names the file and says that the disk is full", err)
		}
	}
	_, err := Create(path, testHeader(t))
	full(err)
	if info, err := os.Stat(path); err != nil || info.Size() > 0 {
		t.Fatalf("it left %d bytes, %v", info.Size(), err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}

	j := open1(t, path)
	answers, written := results(t, 50), 0
	for err = error(nil); err == nil; {
		if err = j.Put(answers); err == nil {
			written += len(answers)
		}
	}
	full(err)
	full(j.Put(answers[:1]))
	full(j.Mark(scan.Mark{}))
	full(j.Close())

	// It can be read on the full disk, and goes on on a larger one.
	kept := func(j *Journal) counter {
		t.Helper()
		_, err := j.Begin(Stage{Name: "scan"})
		past, serr := j.Span(scan.Span{Hi: 28})
		var n counter
		if err := errors.Join(err, serr, j.Replay(past, &n)); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, size := range []string{"64k", "1m"} {
		mount(t, dir, syscall.MS_REMOUNT, size)
		if j, err = Resume(path); err != nil {
			t.Fatal(err)
		}
		n := kept(j)
		if int(n) < written {
			t.Fatalf("%d results were written, %d are left", written, n)
		}
		if err = j.Put(answers); err == nil {
			written = int(n) + len(answers)
		}
		_ = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if j, err = Resume(path); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if n := kept(j); int(n) != written {
		t.Fatalf("%d results were written, %d are left", written, n)
	}
}

// What was handed over survives kill -9; the lock does not.
func TestKillNine(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		j := open1(t, filepath.Join(dir, "scan.journal"))
		for i := 0; ; i++ {
			if err := j.Put([]probe.Result{{Target: j.Header().Local.At(0), RTT: time.Duration(i + 1), Reply: bytes.Repeat([]byte{'x'}, i%5000)}}); err != nil {
				t.Fatal(err)
			}
			fmt.Println("written", i+1)
		}
	}
	dir := t.TempDir()
	var out bytes.Buffer
	cmd := again(t, dir)
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "scan.journal")
	for {
		if info, err := os.Stat(path); err == nil && info.Size() > 1<<20 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := Resume(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a running scan's journal was resumed: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	j, err := Resume(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	_, err = j.Begin(Stage{Name: "scan"})
	past, serr := j.Span(scan.Span{Hi: 28})
	if err := errors.Join(err, serr); err != nil {
		t.Fatal(err)
	}
	told := strings.Count(out.String(), "written")
	n := 0
	for r := range past.Answers {
		if n++; int(r.RTT) != n {
			t.Fatalf("result %d comes at place %d", r.RTT, n)
		}
	}
	if n < told {
		t.Errorf("%d results were handed over, %d are left", told, n)
	}
}
