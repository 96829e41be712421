//go:build unix

package sock

import (
	"errors"
	"syscall"
)

// IsInUse reports whether err says that an address is bound already.
func IsInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// IsNoAddress reports whether err says that an address, or its whole family, is not there on this machine.
func IsNoAddress(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

// isAborted reports whether err, of an accept, says nothing but that a client gave up, or a signal came.
func isAborted(err error) bool {
	return errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR)
}
