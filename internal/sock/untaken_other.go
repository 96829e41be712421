//go:build !linux

package sock

import (
	"errors"
	"syscall"
)

// Untaken returns an error: here nobody tells.
func Untaken(syscall.Conn) (int, error) { return 0, errors.ErrUnsupported }
