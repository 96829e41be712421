package sock

import "golang.org/x/sys/windows"

// The errors of a connection, under one name on every system.
const (
	ErrRefused     = windows.WSAECONNREFUSED
	ErrReset       = windows.WSAECONNRESET
	ErrBrokenPipe  = windows.WSAECONNABORTED
	ErrHostUnreach = windows.WSAEHOSTUNREACH
	ErrNetUnreach  = windows.WSAENETUNREACH
	ErrProhibited  = windows.WSAEACCES
	ErrNoProtocol  = windows.WSAENOPROTOOPT
	ErrTimedOut    = windows.WSAETIMEDOUT
	ErrInUse       = windows.WSAEADDRINUSE
	ErrNotOurs     = windows.WSAEADDRNOTAVAIL
)

var limits = [...]error{windows.WSAEMFILE, windows.WSAENOBUFS, windows.WSAEADDRNOTAVAIL, windows.WSAEWOULDBLOCK, windows.ERROR_NOT_ENOUGH_MEMORY}
