package sock

import (
	"os"

	"golang.org/x/sys/windows"
)

// ErrLocked says that another process, or another handle of this one, has the lock.
const ErrLocked = windows.ERROR_LOCK_VIOLATION

// Lock keeps others that ask for it from having the file too, until it is closed, by the process's end at the
// latest. It does not wait: it returns ErrLocked. What Windows locks nobody else can read, so the byte that stands
// for the file is one far behind its end. See LockFileEx.
func Lock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(handle uintptr) {
		far := windows.Overlapped{Offset: 0, OffsetHigh: 1 << 30}
		failed = windows.LockFileEx(windows.Handle(handle), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &far)
	}); err != nil {
		return err
	}
	return failed
}
