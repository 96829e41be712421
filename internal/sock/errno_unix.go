//go:build unix

package sock

import "syscall"

// The errors of a connection, under one name on every system.
const (
	ErrRefused     = syscall.ECONNREFUSED
	ErrReset       = syscall.ECONNRESET
	ErrBrokenPipe  = syscall.EPIPE
	ErrHostUnreach = syscall.EHOSTUNREACH
	ErrNetUnreach  = syscall.ENETUNREACH
	ErrProhibited  = syscall.EACCES // ICMPv6 type 1 codes 1, 5 and 6 on Linux
	ErrNoProtocol  = syscall.ENOPROTOOPT
	ErrTimedOut    = syscall.ETIMEDOUT
	ErrInUse       = syscall.EADDRINUSE
	ErrNotOurs     = syscall.EADDRNOTAVAIL
)

var limits = [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EAGAIN}
