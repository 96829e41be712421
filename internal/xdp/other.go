//go:build !linux || mips || mips64 || ppc64 || s390x

package xdp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// An Engine cannot be had on this system.
type Engine struct{}

var errUnsupported = fmt.Errorf("XDP needs Linux and a little-endian processor, not %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)

// Open fails.
func Open(Config) (*Engine, error) { return nil, errUnsupported }

// Use fails.
func (*Engine) Use(Route) (uint16, error) { return 0, errUnsupported }

// Attach fails.
func (*Engine) Attach(int, [6]byte) error { return errUnsupported }

// Attached returns false.
func (*Engine) Attached(int) bool { return false }

// Native returns false.
func (*Engine) Native(int) bool { return false }

// Send fails.
func (*Engine) Send(context.Context, []Target) error { return errUnsupported }

// Receive fails.
func (*Engine) Receive(context.Context, func(Answer)) error { return errUnsupported }

// State returns nothing.
func (*Engine) State() State { return State{} }

// Close does nothing.
func (*Engine) Close() error { return nil }
