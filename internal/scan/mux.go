package scan

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"sonde/internal/probe"
)

// A Mux is a Prober that leaves each probe to the prober of its protocol. Those work side by side.
type Mux map[probe.Proto]Prober

// Probe implements Prober. The first prober that fails ends the others.
func (m Mux) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	if len(m) == 1 {
		for _, only := range m {
			return only.Probe(ctx, due, report)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	j := newJunction(m)
	var one sync.Mutex
	for proto, p := range m {
		g.Go(func() error {
			return p.Probe(ctx, lane{j, proto}, func(r probe.Result) {
				one.Lock()
				defer one.Unlock()
				report(r)
			})
		})
	}
	g.Go(func() error { return j.run(ctx, due) })
	return g.Wait()
}

// laneLength is how many probes may wait for a prober before the others wait too.
const laneLength = 64

// A junction parts what is due into lanes, one for each protocol.
type junction struct {
	mu     sync.Mutex
	lanes  map[probe.Proto][]probe.Probe
	done   bool          // no more will come
	change chan struct{} // closed, and replaced, when a lane or done changed
}

func newJunction(m Mux) *junction {
	j := &junction{lanes: map[probe.Proto][]probe.Probe{}, change: make(chan struct{})}
	for proto := range m {
		j.lanes[proto] = nil
	}
	return j
}

// run deals out what is due until there is no more.
func (j *junction) run(ctx context.Context, due probe.Due) error {
	defer j.end()
	buf := make([]probe.Probe, laneLength)
	for {
		n, ok := due.Next(ctx, buf[:laneLength])
		if !ok {
			return nil
		}
		j.update(func() {
			for _, p := range buf[:n] {
				j.lanes[p.Proto] = append(j.lanes[p.Proto], p)
			}
		})
		if !j.await(ctx, j.hasRoom) {
			return nil
		}
	}
}

func (j *junction) end() { j.update(func() { j.done = true }) }

// update changes the junction and tells those who wait.
func (j *junction) update(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
	close(j.change)
	j.change = make(chan struct{})
}

// await waits until holds, which is called with the lock held, returns true; false when ctx ends first.
func (j *junction) await(ctx context.Context, holds func() bool) bool {
	for {
		j.mu.Lock()
		held, change := holds(), j.change
		j.mu.Unlock()
		if held {
			return true
		}
		select {
		case <-change:
		case <-ctx.Done():
			return false
		}
	}
}

func (j *junction) hasRoom() bool {
	for _, l := range j.lanes {
		if len(l) >= laneLength {
			return false
		}
	}
	return true
}

// A lane is what is due of one protocol.
type lane struct {
	*junction
	proto probe.Proto
}

// Next implements probe.Due.
func (l lane) Next(ctx context.Context, buf []probe.Probe) (n int, ok bool) {
	for {
		if !l.await(ctx, func() bool { return len(l.lanes[l.proto]) > 0 || l.done }) {
			return 0, false
		}
		l.update(func() {
			n = copy(buf, l.lanes[l.proto])
			l.lanes[l.proto] = l.lanes[l.proto][n:]
			ok = n > 0 || !l.done
		})
		if n > 0 || !ok {
			return n, ok
		}
	}
}
