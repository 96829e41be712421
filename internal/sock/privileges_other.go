//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"runtime"
)

// ReadPrivileges reports that it needs Linux.
func ReadPrivileges() (Privileges, error) {
	return Privileges{}, fmt.Errorf("read the capabilities on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// KernelRelease returns nothing here.
func KernelRelease() string { return "" }
