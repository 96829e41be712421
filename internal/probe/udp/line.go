package udp

import (
	"container/heap"
	"net/netip"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// A conn is a socket that asks many. It is sock.Inquiry's.
type conn interface {
	Send(to netip.AddrPort, data []byte) error
	Read(hs []sock.Heard) (n int, err error)
	SetReadDeadline(t time.Time) error
}

// A line is one family's socket and what is in flight there. One goroutine listens, and hands the line over to the sweep
// when it has heard something or a flight is to be looked at; until it is resumed the line is the sweep's alone.
type line struct {
	conn
	local netip.AddrPort
	room  int // how many answers it can hold
	shut  func() error

	flights flights
	armed   time.Time // the read deadline

	heard   []sock.Heard
	n       int       // how many were heard
	err     error     // of reading
	before  time.Time // all that had come by then has been read, unless n is all that could be
	dropped uint32
	resume  chan struct{}
}

// listen hears until quit is closed, or reading fails.
func (l *line) listen(heard chan<- *line, quit <-chan struct{}) {
	for {
		l.before = time.Now()
		l.n, l.err = l.Read(l.heard)
		select {
		case heard <- l:
		case <-quit:
			return
		}
		select {
		case <-l.resume:
		case <-quit:
			return
		}
	}
}

// arm sets when reading ends though nothing has come.
func (l *line) arm() {
	at := time.Time{}
	if len(l.flights) > 0 {
		at = l.flights[0].at
	}
	if !at.Equal(l.armed) {
		l.armed = at
		_ = l.SetReadDeadline(at)
	}
}

// A flight is a datagram without an answer yet.
type flight struct {
	probe  probe.Probe
	host   *host
	sent   time.Time
	inPipe bool      // it counts for the windows
	at     time.Time // when to look at it
	place  int       // in the heap
}

// flights are a heap: the one to be looked at first is on top.
type flights []*flight

func (f flights) Len() int           { return len(f) }
func (f flights) Less(i, j int) bool { return f[i].at.Before(f[j].at) }
func (f flights) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].place, f[j].place = i, j
}

// Push implements heap.Interface.
func (f *flights) Push(x any) {
	one := x.(*flight)
	one.place = len(*f)
	*f = append(*f, one)
}

// Pop implements heap.Interface.
func (f *flights) Pop() any {
	end := len(*f) - 1
	last := (*f)[end]
	(*f)[end] = nil
	*f = (*f)[:end]
	return last
}

func (f *flights) add(one *flight)    { heap.Push(f, one) }
func (f *flights) remove(one *flight) { heap.Remove(f, one.place) }
func (f *flights) moved(one *flight)  { heap.Fix(f, one.place) }
