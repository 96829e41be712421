package cli

import (
	"bytes"
	"context"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

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
	replies := map[probe.Target][]byte{}
	if err == nil && w.banner {
		replies, err = w.findBanners(ctx, z, s, middleboxes)
	}
	// What was found until something went wrong counts.
	withdrawn := map[probe.Target]probe.Result{}
	for _, addr := range middleboxes {
		for _, r := range s.Withdraw(addr, w.proved(addr, s.OpenTCP(addr), replies)) {
			withdrawn[r.Target] = r
		}
	}
	held.amend(replies, withdrawn)
	return err
}

// proved returns the ports of a host behind a middlebox on which something is heard to speak that does not speak on the high
// ports as well: what begins as there is the middlebox's own, or one service's behind all ports.
func (w *sweep) proved(addr netip.Addr, open target.Ports, replies map[probe.Target][]byte) target.Ports {
	says := func(proto probe.Proto, port uint16) string {
		line, _, _ := strings.Cut(string(replies[probe.Target{AddrPort: netip.AddrPortFrom(addr, port), Proto: proto}]), "\n")
		return line
	}
	own := map[string]bool{"": true}
	for j := range w.high.Len() {
		own[says(w.high.At(j))] = true
	}
	return open.Where(func(proto probe.Proto, port uint16) bool { return !own[says(proto, port)] })
}

// hasteTime is what a scan that was cut short still takes to see whether what it found is a host's own.
const hasteTime = time.Second

// verifyInHaste withdraws what middleboxes accepted in a span that was cut short. It is no part of what a journal keeps: the
// span goes on when the scan does, and is verified then.
func (w *sweep) verifyInHaste(ctx context.Context, z *zone, held *claims, s *scan.Summary) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hasteTime)
	defer cancel()
	aside := *w
	aside.journal, aside.scanner = nil, new(scanner)
	*aside.scanner = scanner{app: w.app, timeout: w.timeout, attempts: w.attempts, seed: w.seed}
	_ = aside.verify(ctx, z, held, s) // what was not asked in time stays as it is
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

// findBanners returns what the services of a span say, and what is said on the high ports of hosts behind middleboxes.
func (w *sweep) findBanners(ctx context.Context, z *zone, s *scan.Summary, middleboxes []netip.Addr) (map[probe.Target][]byte, error) {
	space, err := build(func(yield func(netip.Addr, target.Ports) bool) {
		for addr := range s.Accepting(1) {
			ports := s.OpenTCP(addr)
			if slices.Contains(middleboxes, addr) {
				ports = ports.Union(w.high)
			}
			if !yield(addr, ports) {
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

// noNeighbor returns what tells whether nobody on the link has an address, by the kernel's table at the time of the first question.
func noNeighbor() func(netip.Addr) bool {
	read := sync.OnceValue(func() sock.Neighbors {
		n, _ := sock.ReadNeighbors() // without the table silence has no cause that is known
		return n
	})
	return func(a netip.Addr) bool { return read()[a] == sock.NeighborFailed }
}

// described yields the hosts of a span with what is known of them besides their ports.
func (w *sweep) described(s *scan.Summary) iter.Seq[scan.Host] {
	return func(yield func(scan.Host) bool) {
		names := w.names.known()
		hosts := s.EachHost()
		if w.openOnly { // nothing is shown of the others
			hosts = s.EachHeard()
		}
		for h := range hosts {
			h.PTR = names[h.Addr]
			if !yield(h) {
				return
			}
		}
	}
}
