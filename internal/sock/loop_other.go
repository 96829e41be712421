//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
)

type (
	poller       struct{}
	streamSource struct{}
)

// NewLoop reports that there are none here.
func NewLoop() (*Loop, error) {
	return nil, fmt.Errorf("an event loop for TCP on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// ListenStreams refuses, and leaves l as it is.
func ListenStreams(net.Listener) (*StreamListener, error) {
	return nil, fmt.Errorf("TCP without the scheduler on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Close does nothing.
func (*Loop) Close() {}

// Wake does nothing.
func (*Loop) Wake() {}

// Watch fails.
func (*Loop) Watch(*Stream) error { return errors.ErrUnsupported }

// Blocked fails.
func (*Loop) Blocked(*Stream, bool) error { return errors.ErrUnsupported }

// Wait returns at once.
func (*Loop) Wait(time.Duration) []int { return nil }

// Accept fails.
func (*StreamListener) Accept() (*Stream, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*StreamListener) Close() error { return nil }

// Read fails.
func (*Stream) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Write fails.
func (*Stream) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Untaken is not known.
func (*Stream) Untaken() int { return 0 }

// CloseWrite fails.
func (*Stream) CloseWrite() error { return errors.ErrUnsupported }

// SetLinger fails.
func (*Stream) SetLinger(int) error { return errors.ErrUnsupported }

// Close does nothing.
func (*Stream) Close() error { return nil }
