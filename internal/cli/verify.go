package cli

import (
	"bytes"
	"context"
	"iter"
	"net/netip"
	"sync"

	"sonde/internal/probe"
	"sonde/internal/probe/banner"
	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// claims stands before the reports and holds back what is not claimed without proof: every TCP port that a host
// accepts on, but the first. One is no reason for doubt.
type claims struct {
	out   scan.Sink
	names *reverse
	all   bool // hold the first back too: its banner is yet to come
	first map[netip.Addr]bool
	held  []probe.Result
	pass  []probe.Result
}

// Put implements scan.Sink.
func (c *claims) Put(answers []probe.Result) error {
	c.pass = c.pass[:0]
	for i := range answers {
		r := &answers[i]
		c.names.want(r.Target.Addr())
		if r.State == probe.Open && r.Target.Proto == probe.TCP && (c.all || c.first[r.Target.Addr()]) {
			c.held = append(c.held, *r)
			continue
		}
		if r.State == probe.Open && r.Target.Proto == probe.TCP {
			if c.first == nil {
				c.first = map[netip.Addr]bool{}
			}
			c.first[r.Target.Addr()] = true
		}
		c.pass = append(c.pass, *r)
	}
	return c.put(c.pass)
}

func (c *claims) put(answers []probe.Result) error {
	if len(answers) == 0 {
		return nil
	}
	return c.out.Put(answers)
}

// amend puts replies and withdrawals in the place of what was held, and adds those for what was not.
func (c *claims) amend(replies map[probe.Target][]byte, withdrawn map[probe.Target]probe.Result) {
	for i := range c.held {
		r := &c.held[i]
		if w, ok := withdrawn[r.Target]; ok {
			r.State, r.Reason = w.State, w.Reason
			delete(withdrawn, r.Target)
		}
		r.Reply = replies[r.Target]
	}
	for _, w := range withdrawn {
		c.held = append(c.held, w)
	}
}

// release lets go what is held, and forgets the span.
func (c *claims) release() error {
	err := c.put(c.held)
	c.held, c.first = nil, nil
	return err
}

// verify asks of a span's hosts what their open ports are worth. Hosts that accept on ports on which nobody listens
// have something before them that accepts: what they are said to accept is withdrawn, unless a service speaks there.
func (w *sweep) verify(ctx context.Context, z *zone, held *claims, s *scan.Summary) error {
	middleboxes, err := w.findMiddleboxes(ctx, z, s)
	if err != nil {
		return err
	}
	replies := map[probe.Target][]byte{}
	if w.banner {
		if replies, err = w.findBanners(ctx, z, s); err != nil {
			return err
		}
	}
	withdrawn := map[probe.Target]probe.Result{}
	for _, addr := range middleboxes {
		proved := s.OpenTCP(addr).Where(func(proto probe.Proto, port uint16) bool {
			return len(replies[probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: proto}]) > 0
		})
		for _, r := range s.Withdraw(addr, proved) {
			withdrawn[r.Target] = r
		}
	}
	held.amend(replies, withdrawn)
	return nil
}

// gather is a sink that keeps what it is given.
type gather func(*probe.Result)

// Put implements scan.Sink.
func (g gather) Put(answers []probe.Result) error {
	for i := range answers {
		g(&answers[i])
	}
	return nil
}

// build returns the space of hosts with ports of their own.
func build(hosts iter.Seq2[netip.Addr, target.Ports]) (target.Space, error) {
	var b target.Builder
	for addr, ports := range hosts {
		b.Add(addr, addr, ports)
	}
	return b.Space()
}

// findMiddleboxes returns the hosts of a span that accept on every one of the high ports.
func (w *sweep) findMiddleboxes(ctx context.Context, z *zone, s *scan.Summary) ([]netip.Addr, error) {
	space, err := build(func(yield func(netip.Addr, target.Ports) bool) {
		for addr := range s.Accepting(2) {
			if !yield(addr, w.high) {
				return
			}
		}
	})
	if err != nil || space.Len() == 0 {
		return nil, err
	}
	accepts := map[netip.Addr]int{}
	count := gather(func(r *probe.Result) {
		if r.State == probe.Open {
			accepts[r.Target.Addr()]++
		}
	})
	err = w.ask(ctx, z, "middleboxes", space, z.prober(space), count, nil)
	var all []netip.Addr
	for addr := range s.Accepting(2) {
		if accepts[addr] == scan.HighPorts {
			all = append(all, addr)
		}
	}
	return all, err
}

// ask carries out a stage that is not reported: it serves to judge others. What it sent counts.
func (w *sweep) ask(ctx context.Context, z *zone, name string, space target.Space, prober scan.Prober, sink scan.Sink, meter *scan.Meter) error {
	plan, spans, err := w.begin(z, name, space)
	if err != nil {
		return err
	}
	plan.HostTimeout, plan.Recall = 0, 0
	st := stage{plan: plan, part: plan.Whole(), spans: spans, prober: prober, sink: sink, meter: meter}
	return w.carryOut(ctx, st, func(s *scan.Summary, _ bool) error {
		w.total.Probes += s.Probes
		w.total.Elapsed += s.Elapsed
		return nil
	})
}

// findBanners returns what the services of a span say.
func (w *sweep) findBanners(ctx context.Context, z *zone, s *scan.Summary) (map[probe.Target][]byte, error) {
	space, err := build(func(yield func(netip.Addr, target.Ports) bool) {
		for addr := range s.Accepting(1) {
			if !yield(addr, s.OpenTCP(addr)) {
				return
			}
		}
	})
	replies := map[probe.Target][]byte{}
	if err != nil || space.Len() == 0 {
		return replies, err
	}
	keep := gather(func(r *probe.Result) {
		if len(r.Reply) > 0 {
			replies[r.Target] = bytes.Clone(r.Reply)
		}
	})
	prober := &banner.Prober{Wait: w.bannerWait, Timeout: w.timeout, Concurrency: w.concurrency, PerHost: z.perHost,
		Source4: w.source4, Source6: w.source6, Interface: w.iface, Name: func(a netip.Addr) string { return w.found.names[a] }}
	return replies, w.ask(ctx, z, "banners", space, prober, keep, nil)
}

// described yields the hosts of a span with what is known of them besides their ports.
func (w *sweep) described(s *scan.Summary) iter.Seq[scan.Host] {
	return func(yield func(scan.Host) bool) {
		names := w.names.known()
		read := sync.OnceValue(func() sock.Neighbors {
			n, _ := sock.ReadNeighbors() // without the table silence has no cause that is known
			return n
		})
		for h := range s.EachHost() {
			h.PTR = names[h.Addr]
			if h.Reason == probe.NoResponse && h.Silent.Len() == h.Asked.Len() && read()[h.Addr] == sock.NeighborFailed {
				h.Reason = probe.NoNeighbor
			}
			if !yield(h) {
				return
			}
		}
	}
}
