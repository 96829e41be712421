package bench

import (
	"os"
	"syscall"
)

// resident is the most memory that a program had resident, in bytes (getrusage(2): ru_maxrss is in KB).
func resident(state *os.ProcessState) int64 {
	if used, ok := state.SysUsage().(*syscall.Rusage); ok {
		return used.Maxrss << 10
	}
	return 0
}
