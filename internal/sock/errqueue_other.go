//go:build !linux

package sock

import "syscall"

// WatchErrors does nothing here: only Linux keeps an error queue.
func WatchErrors(syscall.Conn) error { return nil }

// NextError finds nothing here: only Linux keeps an error queue.
func NextError(syscall.Conn) (ICMPError, bool) { return ICMPError{}, false }
