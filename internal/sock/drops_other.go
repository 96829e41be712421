//go:build !linux

package sock

import (
	"errors"
	"syscall"
)

// Drops returns an error: this system does not count what it throws away.
func Drops(syscall.Conn) (uint32, error) { return 0, errors.ErrUnsupported }
