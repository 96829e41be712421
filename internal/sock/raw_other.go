//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// A Raw sends and hears whole IP packets. There is none on this system.
type Raw struct{}

// OpenRaw reports that it needs Linux.
func OpenRaw(RawConfig) (*Raw, error) {
	return nil, fmt.Errorf("open raw socket on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// SetReadDeadline does nothing.
func (*Raw) SetReadDeadline(time.Time) error { return nil }

// Receive reports that nothing can be heard.
func (*Raw) Receive(func(packet []byte, iface int, at time.Time)) error { return errors.ErrUnsupported }

// Send reports that nothing can be sent.
func (*Raw) Send([][]byte) (int, error) { return 0, errors.ErrUnsupported }

// SendOn reports that nothing can be sent.
func (*Raw) SendOn(int, [][]byte) (int, error) { return 0, errors.ErrUnsupported }

// Lost returns 0.
func (*Raw) Lost() uint64 { return 0 }

// Close does nothing.
func (*Raw) Close() error { return nil }

// Ports are TCP ports that nobody else gets. None are held on this system.
type Ports struct{}

// HoldPorts reports that it needs Linux.
func HoldPorts(int, uint16) (*Ports, error) {
	return nil, fmt.Errorf("hold ports on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// First returns 0.
func (*Ports) First() uint16 { return 0 }

// Last returns 0.
func (*Ports) Last() uint16 { return 0 }

// Close does nothing.
func (*Ports) Close() error { return nil }
