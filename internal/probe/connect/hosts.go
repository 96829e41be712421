package connect

import (
	"net/netip"
	"sync"
	"time"

	"sonde/internal/pace"
	"sonde/internal/probe"
)

const (
	mostHosts  = 1 << 16 // beyond it, what is known of hosts without connections is forgotten
	mostParked = 1 << 16 // beyond it no more probes are taken; about a block of a scan (package scan)
)

// hosts keeps what is known of each address: how long it takes to answer, how fast it may be asked, and the probes that
// wait until it may be asked again. All loops of a scan share it.
type hosts struct {
	perHost int // connections in flight to one address at most; 0: no limit

	base   time.Time  // the beginning of all times here and in the loops
	mu     sync.Mutex // guards the rest, and every host in it
	byAddr map[netip.Addr]*host
	sweep  int // how many hosts are too many
	parked int // probes that wait in all
}

// A host is one address.
type host struct {
	rtt      pace.RTT
	pacer    pace.Pacer
	inFlight int // admitted, and not over
	reserved int // those of them that have their time to go and are not gone
	parked   []probe.Probe
}

// An admitted probe may go, when its time has come.
type admitted struct {
	probe.Probe
	host     *host
	reserved bool          // its host counts it as such
	at       time.Duration // its time; 0: now
	trial    uint32        // of its host's pacer
}

// An ending is what a probe taught about its host.
type ending struct {
	answered bool
	rtt      time.Duration // 0: cannot be told
}

func newHosts() *hosts {
	return &hosts{byAddr: map[netip.Addr]*host{}, sweep: mostHosts, base: time.Now().Add(-time.Second)} // no time is 0
}

// admit lets p go, now or soon, or keeps it until there is room.
func (t *hosts) admit(p probe.Probe, now time.Duration) (admitted, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.host(p.Addr())
	if !t.bears(h) {
		h.parked = append(h.parked, p)
		t.parked++
		return admitted{}, false
	}
	return h.admit(p, now, t.isLate(p, now)), true
}

func (t *hosts) host(addr netip.Addr) *host {
	h, ok := t.byAddr[addr]
	if !ok {
		if len(t.byAddr) >= t.sweep {
			t.forget()
		}
		h = &host{}
		t.byAddr[addr] = h
	}
	return h
}

// forget drops the hosts without connections. With too many left, the next time is when they are twice as many.
func (t *hosts) forget() {
	for addr, h := range t.byAddr {
		if h.inFlight == 0 {
			delete(t.byAddr, addr)
		}
	}
	t.sweep = max(mostHosts, 2*len(t.byAddr))
}

// isLate reports whether it is too late to send a probe.
func (t *hosts) isLate(p probe.Probe, now time.Duration) bool {
	return !p.Until.IsZero() && t.base.Add(now).After(p.Until)
}

func (t *hosts) bears(h *host) bool {
	return (t.perHost == 0 || h.inFlight < t.perHost) && (h.reserved == 0 || h.reserved < h.pacer.Ahead())
}

func (h *host) admit(p probe.Probe, now time.Duration, late bool) admitted {
	a := admitted{Probe: p, host: h}
	h.inFlight++
	if h.pacer.Limited() && !late {
		a.reserved, a.at = true, h.pacer.Reserve(now)
		h.reserved++
	}
	return a
}

// sent notes that a probe that had a reservation is on its way, and appends to freed those that may go next.
func (t *hosts) sent(a *admitted, now time.Duration, freed []admitted) []admitted {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := a.host
	a.reserved = false
	h.reserved--
	if h.pacer.Limited() {
		a.trial = h.pacer.Sent(now, a.Attempt, &h.rtt, len(h.parked))
	}
	return t.release(h, now, freed)
}

// end notes that a probe is over, and appends to freed those that may go next.
func (t *hosts) end(a admitted, e ending, now time.Duration, freed []admitted) []admitted {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := a.host
	h.inFlight--
	if e.rtt > 0 {
		h.rtt.Observe(e.rtt)
	}
	if e.answered && !a.Control {
		h.pacer.Answered(a.Attempt, a.trial)
	}
	return t.release(h, now, freed)
}

// release lets those go that wait, as far as the host bears them. A host for which any wait has a reservation or some in
// flight, so that there is always somebody to release the next.
func (t *hosts) release(h *host, now time.Duration, freed []admitted) []admitted {
	for len(h.parked) > 0 && (t.bears(h) || t.isLate(h.parked[0], now)) {
		freed = append(freed, h.admit(h.parked[0], now, t.isLate(h.parked[0], now)))
		h.parked = h.parked[1:]
		t.parked--
	}
	if len(h.parked) == 0 {
		h.parked = nil
	}
	return freed
}

// look says what to do with a probe in flight that is so old, where none waits longer than ceiling: whether its time is
// over, and if not, at what age to look again.
func (t *hosts) look(a *admitted, age, ceiling time.Duration) (expired bool, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := a.host.rtt.Patience(a.Attempt, ceiling)
	if !a.host.rtt.Known() {
		return age >= limit, min(max(2*age, curiosity), limit)
	}
	return age >= limit, limit
}

// timeout returns how long an answer to a probe is waited for.
func (t *hosts) timeout(a *admitted, ceiling time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return a.host.rtt.Patience(a.Attempt, ceiling)
}

// curiosity is the age at which it is first asked whether a host is known by now; then at each double of it.
const curiosity = 100 * time.Millisecond

// isFull reports whether so many probes wait that no more should be taken.
func (t *hosts) isFull() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.parked >= mostParked
}

// rest returns the probes that still wait.
func (t *hosts) rest() (probes []probe.Probe) {
	for _, h := range t.byAddr {
		probes = append(probes, h.parked...)
	}
	return probes
}
