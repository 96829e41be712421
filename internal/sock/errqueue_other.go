//go:build !linux

package sock

import "syscall"

// WatchErrors does nothing here: only Linux keeps an error queue.
func WatchErrors(syscall.Conn) error { return nil }

// NextError finds nothing here: only Linux keeps an error queue.
func NextError(syscall.Conn) (ICMPError, bool) { return ICMPError{}, false }

// A Tap hears nothing here: only Linux keeps an error queue.
type Tap struct{}

// Hears reports that Take's silence means nothing.
func (t *Tap) Hears() bool { return false }

// Control does nothing here: only Linux keeps an error queue.
func (t *Tap) Control(string, string, syscall.RawConn) error { return nil }

// Take finds nothing here: only Linux keeps an error queue.
func (t *Tap) Take() (ICMPError, bool) { return ICMPError{}, false }
