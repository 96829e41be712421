//go:build !linux

package connect

import (
	"context"

	"sonde/internal/probe"
)

// Probe implements scan.Prober.
func (p *Prober) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	return p.probeWithDialer(ctx, due, report)
}
