//go:build unix

package sock

import "syscall"

// RaiseFileLimit raises this process's limit of open descriptors to its hard limit and
// returns what it is then.
func RaiseFileLimit() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	if l.Cur < l.Max {
		raised := l
		raised.Cur = l.Max
		// macOS refuses what is above kern.maxfilesperproc; the old limit stands then.
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			l = raised
		}
	}
	return uint64(l.Cur), nil //nolint:unconvert // signed on some systems
}
