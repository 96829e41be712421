//go:build unix

package sock

import (
	"os"
	"syscall"
)

// ErrLocked says that another process, or another descriptor of this one, has the lock.
const ErrLocked = syscall.EWOULDBLOCK

// Lock keeps others that ask for it from having the file too, until it is closed, by the process's end at the
// latest. It does not wait: it returns ErrLocked. See flock(2).
func Lock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) }); err != nil {
		return err
	}
	return failed
}
