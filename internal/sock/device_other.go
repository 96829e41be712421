//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// BindToDevice reports that it needs Linux.
func BindToDevice(_ syscall.RawConn, iface string) error {
	return fmt.Errorf("bind to interface %s on %s: %w", iface, runtime.GOOS, errors.ErrUnsupported)
}
