package sock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic returns the kernel's monotonic clock (clock_gettime(2), CLOCK_MONOTONIC), which programs in the kernel have too; 0 if it
// cannot be read.
func Monotonic() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
