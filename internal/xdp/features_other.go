//go:build !linux || mips || mips64 || ppc64 || s390x

package xdp

// Available fails.
func Available() error { return errUnsupported }

// ReadFeatures fails.
func ReadFeatures(int) (Features, error) { return Features{}, errUnsupported }
