package cli

import (
	"context"
	"net/netip"

	"sonde/internal/probe"
	"sonde/internal/probe/ping"
	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// alivePorts are asked of every address by --alive, beside an ICMP echo: a server, a router, a Windows machine and
// most others answer on one of them, be it by a refusal.
func alivePorts(echo bool) target.Ports {
	ports := target.PortList(probe.TCP, 22, 80, 443, 3389)
	if echo {
		ports = ports.Union(target.PortList(probe.Echo, 1))
	}
	return ports
}

// findAlive asks each address of a zone whether anybody is there, and returns the targets at those who answered
// at all. A router's word is no answer of the host.
func (w *sweep) findAlive(ctx context.Context, z *zone) (target.Space, error) {
	ports := alivePorts(w.canPing())
	hosts := w.shard.hosts(z.space)
	asked, err := build(func(yield func(netip.Addr, target.Ports) bool) {
		for rank := hosts.Lo; rank < hosts.Hi && yield(z.space.Host(rank), ports); rank++ {
		}
	})
	if err != nil || asked.Len() == 0 {
		return asked, err
	}
	there := map[netip.Addr]bool{}
	note := gather(func(r *probe.Result) {
		if r.State != probe.Filtered || !r.From.IsValid() {
			there[r.Target.Addr()] = true
		}
	})
	meter := &scan.Meter{}
	w.line.watch(meter, asked.Len(), "who is there: ")
	err = w.ask(ctx, z, z.name+", alive", asked, z.prober(asked), note, meter)
	if err != nil {
		return target.Space{}, err
	}
	neighbors, _ := sock.ReadNeighbors() // without the table it is the answers that count
	return build(func(yield func(netip.Addr, target.Ports) bool) {
		for rank := hosts.Lo; rank < hosts.Hi; rank++ {
			addr := z.space.Host(rank)
			if (there[addr] || neighbors[addr] == sock.NeighborReachable) && !yield(addr, z.space.Ports(addr)) {
				return
			}
		}
	})
}

// canPing reports whether this process may send ICMP echo, and says so when it may not.
func (w *sweep) canPing() bool {
	err := ping.Available()
	if err != nil {
		w.note("--alive asks by TCP only: %v", err)
	}
	return err == nil
}
