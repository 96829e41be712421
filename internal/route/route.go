// Package route tells by which interface, from which address and to which next hop the kernel would send a packet,
// fast enough to be asked for each of millions of packets a second.
//
// The kernel itself answers, so that policy routing, metrics and source selection are its own; but it is asked once
// for a stretch of addresses on which it cannot answer differently. What is routed by something else than the
// destination, the configured source and the configured interface (rules for marks, ports or protocols) is routed
// here as a packet without that something. Of several equal paths it is the one that the kernel takes for the first address asked.
package route

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
)

// A Hop is the way to an address. Its addresses have no zones: Interface says which link they are on.
type Hop struct {
	Interface int        // the index of the interface that packets leave by
	Name      string     // its name
	Source    netip.Addr // the address that packets come from
	Gateway   netip.Addr // the next hop; not valid: the address itself is on the link
	MTU       int        // the largest packet, in bytes
	Ethernet  bool       // packets are framed as Ethernet, with link addresses of 6 bytes
	Link      [6]byte    // the interface's own link address; zero without Ethernet
	Local     bool       // the address is this machine's own, and Interface its loopback
}

// Config is what the user asked for. What is zero is the system's choice.
type Config struct {
	Interface        string     // the only one that packets leave by
	Source4, Source6 netip.Addr // addresses of this machine
}

// ErrNoRoute says that this machine does not send to an address. The errors that wrap it say why.
var ErrNoRoute = errors.New("no route")

// ErrNoNeighbor says that nobody on a link answered for an address.
var ErrNoNeighbor = errors.New("no neighbour answers")

// ErrDown says that packets cannot leave, or answers come in, as they did.
var ErrDown = errors.New("an interface went down")

// A Table is the way to every address as it was when it was first asked for: it does not follow changes, and whoever
// must opens another one. Any number of goroutines may use it; those that ask for what is known do not wait for each other.
type Table struct {
	config Config
	index  int // of config.Interface; 0: any

	starts []key                        // where the stretches begin, ascending; the first is the zero key
	plain  answers                      // for addresses without a zone
	zoned  atomic.Pointer[zonedAnswers] // for others; never changed, only replaced

	mu    sync.Mutex // one question to the kernel at a time; guards the next
	hops  map[Hop]*answer
	links map[int]Hop // by index; what their hops have in common
}

// answers are those to each stretch of addresses, nil where nobody has asked.
type answers []atomic.Pointer[answer]

type zonedAnswers map[string]answers

// An answer is a hop or, with nil, why there is none.
type answer struct {
	hop *Hop
	why error
}

// newTable returns a table in which nothing is known but where the kernel's answers may change.
func newTable(c Config, cuts []netip.Prefix) *Table {
	t := &Table{config: c, starts: boundaries(cuts), hops: map[Hop]*answer{}, links: map[int]Hop{}}
	t.plain = make(answers, len(t.starts))
	t.zoned.Store(&zonedAnswers{})
	return t
}

// Lookup returns the way to a: the same pointer for all addresses that share it. An IPv6 zone is respected: it is the
// interface to leave by. An error that is ErrNoRoute is the kernel's answer, any other a failure to ask it.
func (t *Table) Lookup(a netip.Addr) (*Hop, error) {
	all := t.plain
	if !a.Is4() {
		a = a.Unmap()
		if zone := a.Zone(); zone != "" || !a.IsValid() {
			all = (*t.zoned.Load())[zone] // nil where nobody has asked, or could
		}
	}
	if all != nil {
		if known := all[find(t.starts, keyOf(a))].Load(); known != nil && known.hop != nil {
			return known.hop, nil
		}
	}
	return t.lookup(a)
}

// Stretch returns what Lookup says of a, and the first and the last address of the stretch around a of which it says the same.
func (t *Table) Stretch(a netip.Addr) (hop *Hop, first, last netip.Addr, err error) {
	hop, err = t.Lookup(a)
	k := find(t.starts, keyOf(a))
	first, last = t.starts[k].addr(), key{math.MaxUint64, math.MaxUint64}.addr()
	if k+1 < len(t.starts) {
		last = t.starts[k+1].addr().Prev()
	}
	return hop, first, last, err
}

// lookup is Lookup where the answer may not be known yet, or is no.
func (t *Table) lookup(a netip.Addr) (*Hop, error) {
	if !a.IsValid() {
		return nil, fmt.Errorf("route to %v: %w", a, ErrNoRoute)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := &t.answersFor(a.Zone())[find(t.starts, keyOf(a))]
	known := slot.Load()
	if known == nil {
		hop, err := t.ask(a)
		switch {
		case err == nil:
			known = t.shared(hop)
		case errors.Is(err, ErrNoRoute):
			known = &answer{why: err}
		default:
			return nil, fmt.Errorf("route to %v: %w", a, err) // and the next one tries again
		}
		slot.Store(known)
	}
	if known.hop == nil {
		return nil, fmt.Errorf("route to %v: %w", a, known.why)
	}
	return known.hop, nil
}

// Ways yields the ways to the addresses from first to last, which are of one family and without a zone: for each stretch of addresses for which
// the kernel has one answer its first address, and what Lookup says of it.
func (t *Table) Ways(first, last netip.Addr) iter.Seq2[netip.Addr, error] {
	return func(yield func(netip.Addr, error) bool) {
		for a, k := first, find(t.starts, keyOf(first)); ; k++ {
			_, err := t.Lookup(a)
			if !yield(a, err) || k+1 == len(t.starts) || keyOf(last).less(t.starts[k+1]) {
				return
			}
			a = t.starts[k+1].addr()
		}
	}
}

// interfaces returns the names of the interfaces, by index, by which those Hops leave that were looked up.
func (t *Table) interfaces() map[int]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := map[int]string{}
	for h := range t.hops {
		names[h.Interface] = h.Name
	}
	return names
}

// answersFor returns the answers for a zone.
func (t *Table) answersFor(zone string) answers {
	if zone == "" {
		return t.plain
	}
	old := *t.zoned.Load()
	if all, ok := old[zone]; ok {
		return all
	}
	all := make(answers, len(t.starts))
	more := zonedAnswers{zone: all}
	for z, a := range old {
		more[z] = a
	}
	t.zoned.Store(&more)
	return all
}

// shared returns the answer that all equal hops have.
func (t *Table) shared(h Hop) *answer {
	known, ok := t.hops[h]
	if !ok {
		known = &answer{hop: &h}
		t.hops[h] = known
	}
	return known
}

// source returns the address that packets to a shall come from, not valid if that is the system's choice.
func (t *Table) source(a netip.Addr) netip.Addr {
	if a.Is4() {
		return t.config.Source4.Unmap()
	}
	return t.config.Source6.WithZone("")
}
