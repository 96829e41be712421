package connect

import (
	"context"
	"sync"

	"sonde/internal/probe"
)

// batch is how many probes are asked for at once.
const batch = 64

// A feed carries probes from the queue, which lets its caller wait, to an event loop, which
// must not wait for anything but its sockets.
type feed struct {
	mu     sync.Mutex
	change sync.Cond // want or closed changed
	want   int       // how many more the loop can take
	inbox  []probe.Probe
	done   bool // there will be no more
	closed bool // the loop takes no more
}

func newFeed() *feed {
	f := &feed{}
	f.change.L = &f.mu
	return f
}

// pump asks due for as many probes as the loop can take, until there are no more, and
// wakes the loop for each batch.
func (f *feed) pump(ctx context.Context, due probe.Due, wake func()) {
	buf := make([]probe.Probe, batch)
	for n := f.await(); n > 0; n = f.await() {
		n, ok := due.Next(ctx, buf[:n])
		f.mu.Lock()
		f.inbox = append(f.inbox, buf[:n]...)
		f.want -= n
		f.done = !ok
		f.mu.Unlock()
		wake()
		if !ok {
			return
		}
	}
}

// await returns how many probes the loop can take, 0 when it takes no more.
func (f *feed) await() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.want <= 0 && !f.closed {
		f.change.Wait()
	}
	if f.closed {
		return 0
	}
	return min(f.want, batch)
}

// take appends what has come to buf and says how many probes more the loop can take
// behind it. done means that nothing more will come.
func (f *feed) take(buf []probe.Probe, room int) (_ []probe.Probe, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	buf = append(buf, f.inbox...)
	f.want = min(room-len(f.inbox), batch) // no more: what has its permission to go should not wait for long
	f.inbox = f.inbox[:0]
	f.change.Signal()
	return buf, f.done
}

// close ends the pump, once it has done with due.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.change.Signal()
}
