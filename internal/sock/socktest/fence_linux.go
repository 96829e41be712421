package socktest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sonde/internal/sock"
)

// A Fence is what a thread, and the programs that it starts, may not do that this process may.
type Fence struct {
	Drop []sock.Capability // it does not have these
	// BPF is what bpf(2) fails with, as under a container's seccomp filter; 0: it does not. Command, if not 0, is the only
	// command that fails (linux/bpf.h).
	BPF     syscall.Errno
	Command uint32
}

// Run calls do on a thread behind the fence. What do makes others do, in goroutines of their own, they do outside.
func (f Fence) Run(t testing.TB, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := f.put()
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("put a fence around a thread: %v", err)
	}
}

func (f Fence) put() error {
	if f.BPF != 0 {
		if err := filter(f.program()); err != nil {
			return fmt.Errorf("install a filter of system calls: %w", err)
		}
	}
	return drop(f.Drop)
}

// program refuses what is to be refused (seccomp(2)): it is given a struct seccomp_data, the call's number at 0 and its
// arguments from 16 on. Only little-endian processors have the argument's low half there.
func (f Fence) program() []bpf.Instruction {
	const number, argument = 0, 16
	refuse := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(f.BPF)}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: number, Size: 4}}
	if f.Command == 0 {
		return append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_BPF, SkipFalse: 1}, refuse, allow)
	}
	return append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_BPF, SkipFalse: 3},
		bpf.LoadAbsolute{Off: argument, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: f.Command, SkipFalse: 1}, refuse, allow)
}

// filter installs a filter on this thread. Who is not root has to promise first to gain no privileges any more.
func filter(program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	const filterMode = 2 // SECCOMP_MODE_FILTER
	install := func() error {
		return unix.Prctl(unix.PR_SET_SECCOMP, filterMode, uintptr(unsafe.Pointer(&unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})), 0, 0)
	}
	if err = install(); errors.Is(err, os.ErrPermission) {
		if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err == nil {
			err = install()
		}
	}
	return err
}

// drop takes capabilities away for good.
func drop(all []sock.Capability) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for _, c := range all {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && data[0].Effective != 0 {
			return fmt.Errorf("drop %v: %w", c, err)
		}
		mask := ^(uint32(1) << (c % 32))
		d := &data[c/32]
		d.Effective, d.Permitted, d.Inheritable = d.Effective&mask, d.Permitted&mask, d.Inheritable&mask
	}
	return unix.Capset(&header, &data[0])
}
