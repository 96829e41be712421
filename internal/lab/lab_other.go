//go:build !linux

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
)

// Main does nothing: there are no hosts on this system.
func Main() {}

// Enter skips the test: there are no network namespaces on this system.
func Enter(t testing.TB) *Net {
	t.Helper()
	unavailable(t, fmt.Errorf("this is %s", runtime.GOOS))
	return nil
}

// Net is the lab's network. On this system nobody gets one.
type Net struct{}

// Host is a host in the lab. On this system nobody gets one.
type Host struct {
	IPv4, IPv6 netip.Addr
	MAC        net.HardwareAddr
	Device     string
	Config     Config
}

// Host returns nil.
func (*Net) Host(testing.TB, Config) *Host { return nil }

// Filter does nothing.
func (*Net) Filter(testing.TB, ...Rule) {}

// Hits returns nil.
func (*Net) Hits(testing.TB) []uint64 { return nil }

// Behind returns nil.
func (*Host) Behind(testing.TB, Config) *Host { return nil }

// Hits returns nil.
func (*Host) Hits(testing.TB) []uint64 { return nil }

// Tally returns nothing.
func (*Host) Tally(testing.TB) Tally { return Tally{} }

// ResetTally does nothing.
func (*Host) ResetTally(testing.TB) {}

// Flood returns a function that returns 0.
func (*Host) Flood(testing.TB, Flood) (wait func() uint64) { return func() uint64 { return 0 } }
