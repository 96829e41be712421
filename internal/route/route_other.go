//go:build !linux

package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
)

// Open reports that it needs Linux.
func Open(Config) (*Table, error) {
	return nil, fmt.Errorf("read the routes on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (t *Table) ask(netip.Addr) (Hop, error) { return Hop{}, errors.ErrUnsupported }

// Neighbor knows nobody here.
func (t *Table) Neighbor(*Hop, netip.Addr) (link [6]byte, ok bool) { return link, false }

// Resolve reports that it needs Linux.
func (t *Table) Resolve(context.Context, *Hop, netip.Addr) (link [6]byte, err error) {
	return link, errors.ErrUnsupported
}

// Down returns nil.
func (*Table) Down() error { return nil }
