package sock

import (
	"strconv"
	"syscall"
)

// ErrnoName returns the number of an error: Windows has no names for them at run time.
func ErrnoName(errno syscall.Errno) string { return strconv.Itoa(int(errno)) }
