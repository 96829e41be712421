package cli

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	reverseWorkers  = 16              // look-ups at once: few for a name server, many for us
	reverseTime     = 3 * time.Second // one look-up takes at most
	reversePatience = 2 * time.Second // what the end of a span waits for those still under way
	reverseMost     = 1 << 16         // addresses remembered in a span; more go without a name
)

// A reverse finds the names of addresses (PTR records, and the hosts file) while a scan goes on. Whoever hears an
// address answer says that its name is wanted; at the end of a span the names are there, or not. Names are what
// a stranger's name server says: they are escaped wherever they are shown. A nil *reverse knows no names.
type reverse struct {
	resolver *net.Resolver
	patience time.Duration
	ctx      context.Context
	cancel   context.CancelFunc
	workers  sync.WaitGroup

	mu      sync.Mutex
	change  chan struct{}         // closed, and replaced, when an address was looked up
	names   map[netip.Addr]string // each address of this span that was wanted; "" until there is a name
	queue   []netip.Addr          // those that nobody has begun to look up
	busy    int                   // workers at work
	pending int                   // addresses of this span without an outcome
	span    int                   // counts the spans, so that a late outcome is not taken for one of this
	answers int                   // of name servers
	deaf    bool                  // the last wait was in vain: no name server has answered since it began
}

// newReverse returns a reverse that works until ctx ends. The caller closes it.
func newReverse(ctx context.Context) *reverse {
	return newReverseBy(ctx, &net.Resolver{PreferGo: true})
}

func newReverseBy(ctx context.Context, by *net.Resolver) *reverse {
	r := &reverse{resolver: endedByContext(by), patience: reversePatience, names: map[netip.Addr]string{}, change: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// endedByContext returns a resolver like r whose look-ups end with their context: package net heeds its deadline, but
// does not look whether it was cancelled while it waits for a name server.
func endedByContext(r *net.Resolver) *net.Resolver {
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &net.Resolver{PreferGo: r.PreferGo, StrictErrors: r.StrictErrors, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // package net ends ctx when it is done with conn
		}
		return conn, err
	}}
}

// want asks for the name of an address. It never waits.
func (r *reverse) want(addr netip.Addr) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.names[addr]; known || len(r.names) >= reverseMost || r.ctx.Err() != nil {
		return
	}
	r.names[addr] = ""
	r.queue = append(r.queue, addr)
	r.pending++
	if r.busy < reverseWorkers {
		r.busy++
		r.workers.Go(r.work)
	}
}

// work looks up what is wanted until there is no more.
func (r *reverse) work() {
	for addr, span, ok := r.next(); ok; addr, span, ok = r.next() {
		name, answered := r.lookUp(addr)
		r.learn(addr, span, name, answered)
	}
}

func (r *reverse) next() (addr netip.Addr, span int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 || r.ctx.Err() != nil {
		r.busy--
		return addr, 0, false
	}
	addr, r.queue = r.queue[0], r.queue[1:]
	return addr, r.span, true
}

// lookUp returns the name of an address, "" if it has none or none is to be had, and whether a name server said so.
func (r *reverse) lookUp(addr netip.Addr) (name string, answered bool) {
	ctx, cancel := context.WithTimeout(r.ctx, reverseTime)
	defer cancel()
	names, err := r.resolver.LookupAddr(ctx, addr.WithZone("").String())
	if len(names) == 0 {
		var dns *net.DNSError
		return "", errors.As(err, &dns) && dns.IsNotFound
	}
	return strings.TrimSuffix(slices.Min(names), "."), true // servers shuffle them: always the same one
}

func (r *reverse) learn(addr netip.Addr, span int, name string, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if answered {
		r.answers++
		r.deaf = false
	}
	if span != r.span {
		return
	}
	r.names[addr] = name
	r.pending--
	close(r.change)
	r.change = make(chan struct{})
}

// known returns the names of the addresses that were wanted, and forgets them: the span is over. It waits for
// those under way, but no longer than two seconds, and not at all if the name servers have not answered
// the last time either.
func (r *reverse) known() map[netip.Addr]string {
	if r == nil {
		return nil
	}
	r.await()
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.names
	for addr, name := range known {
		if name == "" {
			delete(known, addr)
		}
	}
	r.names, r.queue, r.pending = map[netip.Addr]string{}, nil, 0
	r.span++
	return known
}

// await returns when nothing is under way any more, or waiting has taken too long.
func (r *reverse) await() {
	over := time.After(r.patience)
	before := -1 // how many answers there were when it began
	for {
		change, answers, worth := r.underWay()
		if !worth {
			return
		}
		if before < 0 {
			before = answers
		}
		select {
		case <-change:
		case <-r.ctx.Done():
			return
		case <-over:
			r.mu.Lock()
			r.deaf = r.answers == before
			r.mu.Unlock()
			return
		}
	}
}

// underWay says how many answers there were so far, and whether it is worth waiting for more, by change.
func (r *reverse) underWay() (change <-chan struct{}, answers int, worth bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change, r.answers, r.pending > 0 && !r.deaf
}

// close ends all look-ups.
func (r *reverse) close() {
	if r == nil {
		return
	}
	r.cancel()
	r.workers.Wait()
}
