//go:build !linux

package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
)

// A Ping is a socket for ICMP echo. There is none on this system yet.
type Ping struct{}

// NewPing reports that there is no such socket here.
func NewPing(bool, netip.Addr, string) (*Ping, error) {
	return nil, fmt.Errorf("ICMP echo on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Raw returns false.
func (*Ping) Raw() bool { return false }

// Send reports that nothing can be sent.
func (*Ping) Send(netip.Addr, uint16, []byte) error { return errors.ErrUnsupported }

// Read reports that nothing can be heard.
func (*Ping) Read([]Echo) (int, error) { return 0, errors.ErrUnsupported }

// SetReadDeadline does nothing.
func (*Ping) SetReadDeadline(time.Time) error { return nil }

// Close does nothing.
func (*Ping) Close() error { return nil }
