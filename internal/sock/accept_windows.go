package sock

import (
	"errors"

	"golang.org/x/sys/windows"
)

// IsInUse reports whether err says that an address is bound already.
func IsInUse(err error) bool { return errors.Is(err, windows.WSAEADDRINUSE) }

// IsNoAddress reports whether err says that an address, or its whole family, is not there on this machine.
func IsNoAddress(err error) bool {
	return errors.Is(err, windows.WSAEADDRNOTAVAIL) || errors.Is(err, windows.WSAEAFNOSUPPORT)
}

// isAborted reports whether err, of an accept, says nothing but that a client gave up, or a signal came.
func isAborted(err error) bool {
	return errors.Is(err, windows.WSAECONNABORTED) || errors.Is(err, windows.WSAECONNRESET)
}
