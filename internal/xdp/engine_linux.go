//go:build !mips && !mips64 && !ppc64 && !s390x

package xdp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:generate go tool bpf2go -tags linux -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu" -type target -type route -type answer -output-stem sonde bpf bpf/sonde.c

// An Engine is the program, loaded, and attached to the interfaces in use.
//
// Use and Send are for one goroutine, Receive for one, State for any. Close waits for nobody: they must be over.
type Engine struct {
	objects bpfObjects
	targets *ebpf.Memory
	batch   int
	began   time.Time // the beginning of the kernel's monotonic clock
	staging []bpfTarget

	links  map[int]*attachment // by interface
	routes int

	half   int           // of the targets' map: the one to be filled next
	free   chan struct{} // a token for each half that no run uses
	runs   chan run
	runner sync.WaitGroup

	ring   *ringbuf.Reader
	closed chan struct{}

	mu      sync.Mutex // guards the rest
	dropped uint64     // by the interfaces, since the program was attached
	queued  int        // runs that are not over
	sent    time.Time
	heard   time.Time
	failure error // of a run
}

// A run is a batch of targets in the map.
type run struct {
	first, n int
	frame    []byte // as long as the probes' frames are
}

// Open loads the program. It is attached to nothing yet.
func Open(c Config) (*Engine, error) {
	_ = rlimit.RemoveMemlock() // before Linux 5.11 only; where it fails, loading says what is missing
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read the XDP program: %w", err)
	}
	e := &Engine{batch: cmp.Or(c.Batch, defaultBatch), links: map[int]*attachment{}, free: make(chan struct{}, 2),
		runs: make(chan run, 2), closed: make(chan struct{})}
	spec.Maps["targets"].MaxEntries = uint32(2 * e.batch)
	spec.Maps["routes"].MaxEntries = mostRoutes
	spec.Maps["answers"].MaxEntries = uint32(cmp.Or(c.Ring, defaultRing))
	for name, value := range map[string]any{"key0": c.Key[0], "key1": c.Key[1], "first_port": c.FirstPort, "port_mask": c.Ports - 1} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of the XDP program: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&e.objects, nil); err != nil {
		return nil, fmt.Errorf("load the XDP program: %w", plainly(err))
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.objects.Close())
	}
	return e, nil
}

func (e *Engine) start() error {
	var err error
	if e.targets, err = e.objects.Targets.Memory(); err != nil {
		return fmt.Errorf("map the XDP program's targets: %w", err)
	}
	if e.ring, err = ringbuf.NewReader(e.objects.Answers); err != nil {
		return fmt.Errorf("map the XDP program's answers: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", errors.Join(err, e.ring.Close()))
	}
	e.began = time.Now().Add(-time.Duration(now.Nano()))
	e.staging = make([]bpfTarget, e.batch)
	e.free <- struct{}{}
	e.free <- struct{}{}
	e.runner.Go(e.work)
	return nil
}

// Close takes the program off every interface and frees all that it holds. What was handed over may stay unsent.
func (e *Engine) Close() error {
	close(e.closed)
	close(e.runs)
	e.runner.Wait()
	errs := []error{e.ring.Close()}
	for _, a := range e.links {
		errs = append(errs, a.link.Close())
	}
	return errors.Join(append(errs, e.objects.Close())...)
}

// State says how far the engine is.
func (e *Engine) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := State{Sent: e.sent, Heard: e.heard, Dropped: e.dropped}
	if e.queued > 0 {
		s.Sent = time.Now()
	}
	_ = e.objects.Strangers.Get(&s.Strangers) // a count that cannot be read is 0
	_ = e.objects.Overflowed.Get(&s.Overflows)
	return s
}

// Frames that probes are written into: their length says which family they are of.
var (
	frame4 = make([]byte, 14+60)
	frame6 = make([]byte, 14+80)
)

// Send hands over targets of one family. It waits while the two batches before are not sent, and
// returns the error of any: the scan cannot go on then.
func (e *Engine) Send(ctx context.Context, targets []Target) error {
	for part := range slices.Chunk(targets, e.batch) {
		select {
		case <-e.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := e.hand(part); err != nil {
			return err
		}
	}
	return e.failed()
}

// hand puts a batch into the half of the map that is free, and has it sent.
func (e *Engine) hand(targets []Target) error {
	for i := range targets {
		t := &targets[i]
		b := &e.staging[i]
		if t.Addr().Is4() {
			a := t.Addr().As4()
			b.Addr[0] = *(*uint32)(unsafe.Pointer(&a))
		} else {
			b.Addr = *(*[4]uint32)(unsafe.Pointer(new(t.Addr().As16())))
		}
		b.Port, b.Route, b.Attempt, b.Cookie = swap16(t.Port()), t.Route, t.Attempt, t.Cookie
	}
	r := run{first: e.half * e.batch, n: len(targets), frame: frame4}
	if targets[0].Addr().Is6() {
		r.frame = frame6
	}
	const size = int(unsafe.Sizeof(bpfTarget{}))
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&e.staging[0])), len(targets)*size)
	if _, err := e.targets.WriteAt(bytes, int64(r.first*size)); err != nil {
		return fmt.Errorf("hand targets to the XDP program: %w", err)
	}
	e.half = 1 - e.half
	e.note(func() { e.queued++ })
	e.runs <- r
	return nil
}

func swap16(x uint16) uint16 { return x<<8 | x>>8 } // to the network's order: the processor is little-endian

func (e *Engine) note(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func (e *Engine) failed() (err error) {
	e.note(func() { err = e.failure })
	return err
}

// work carries out runs until there are no more. Its thread stays on one processor: where it moved, the interface's queue would be emptied by
// the one that it left, too slowly at times, and frames get lost. It goes before the others, which do with answers what can wait.
func (e *Engine) work() {
	runtime.LockOSThread()
	stay()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), sendNice) // where it may not, it is slower
	for r := range e.runs {
		err := e.failed()
		if err == nil && e.awaitRoom(r.n) {
			err = e.run(r)
		}
		now := time.Now()
		e.note(func() { e.queued, e.sent, e.failure = e.queued-1, now, err })
		e.free <- struct{}{}
	}
}

// sendNice is the priority of the thread that sends (setpriority(2)).
const sendNice = -10

// stay keeps the calling thread on the last processor that it may be on: the first has most of the interrupts.
func stay() {
	var allowed, one unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil {
		return
	}
	for cpu := range 8 * len(allowed) * int(unsafe.Sizeof(allowed[0])) {
		if allowed.IsSet(cpu) {
			one = unix.CPUSet{}
			one.Set(cpu)
		}
	}
	_ = unix.SchedSetaffinity(0, &one) // where it may not, it may lose some
}

// run has the kernel send a batch.
func (e *Engine) run(r run) error {
	if err := errors.Join(e.objects.NextTarget.Set(uint32(r.first)), e.objects.EndTarget.Set(uint32(r.first+r.n))); err != nil {
		return fmt.Errorf("set the bounds of a run: %w", err)
	}
	_, err := e.objects.Probe.Run(&ebpf.RunOptions{Data: r.frame, Repeat: uint32(r.n), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES})
	if errors.Is(err, unix.EINVAL) { // it knows no flags of a run
		err = fmt.Errorf("%w (%w)", ErrTooOld, err)
	}
	if err != nil {
		return fmt.Errorf("send %d frames by XDP: %w", r.n, err)
	}
	return nil
}

// answerSize is what an answer takes of the ring, its header included.
const answerSize = int(unsafe.Sizeof(bpfAnswer{})) + 8

// roomPause is how often a full ring is looked at.
const roomPause = 200 * time.Microsecond

// awaitRoom waits until half of the ring, and as many answers as the next probes may bring, is free; false when the engine is closed. The half
// is for answers that are on their way.
func (e *Engine) awaitRoom(probes int) bool {
	room := e.ring.BufferSize() / 2
	for e.ring.AvailableBytes()+min(probes*answerSize, room) > e.ring.BufferSize()-room/2 {
		select {
		case <-time.After(roomPause):
		case <-e.closed:
			return false
		}
	}
	return true
}

// How long Receive rests when the ring is empty: at least, and longer and longer while there is little in it.
const (
	shortRest = time.Millisecond
	longRest  = 32 * time.Millisecond
	pouring   = 32 // answers at once
)

// Receive reports the answers as they come, until ctx ends, which is no error. It is not woken for them: it looks now and then.
func (e *Engine) Receive(ctx context.Context, hear func(Answer)) error {
	var rec ringbuf.Record
	counted, rest := time.Time{}, shortRest
	for {
		since := time.Now()
		if since.Sub(counted) > longRest {
			counted = since
			if err := e.countDrops(); err != nil {
				_, derr := e.drain(&rec, hear, since) // who waits for room in the ring shall not wait for ever
				return errors.Join(err, derr)
			}
		}
		e.ring.SetDeadline(since) // it takes what is there
		n, err := e.drain(&rec, hear, since)
		if err != nil {
			return err
		}
		if rest = min(2*rest, longRest); n > pouring {
			rest = shortRest
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
	}
}

// drain reports answers until the ring is empty, and returns how many.
func (e *Engine) drain(rec *ringbuf.Record, hear func(Answer), since time.Time) (n int, err error) {
	for ; ; n++ {
		switch err := e.ring.ReadInto(rec); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			e.note(func() { e.heard = since })
			return n, nil
		case errors.Is(err, ringbuf.ErrClosed):
			return n, nil
		case err != nil:
			return n, fmt.Errorf("read answers from the XDP program: %w", err)
		}
		if len(rec.RawSample) < int(unsafe.Sizeof(bpfAnswer{})) {
			return n, fmt.Errorf("an answer of %d bytes from the XDP program", len(rec.RawSample))
		}
		hear(e.answer((*bpfAnswer)(unsafe.Pointer(&rec.RawSample[0]))))
	}
}

// answer puts what the kernel says into words of ours.
func (e *Engine) answer(b *bpfAnswer) Answer {
	addr := netip.AddrFrom16(*(*[16]byte)(unsafe.Pointer(&b.Addr)))
	if b.V6 == 0 {
		addr = netip.AddrFrom4(*(*[4]byte)(unsafe.Pointer(&b.Addr)))
	}
	a := Answer{From: netip.AddrPortFrom(addr, swap16(b.Port)), Interface: int(b.Ifindex), SynAck: b.Flags&flagRST == 0, TTL: b.Ttl,
		Attempt: b.Attempt, Time: e.began.Add(time.Duration(b.Time))}
	if rtt := time.Duration(b.Rtt) << 10; b.HasRtt != 0 && rtt < longestRTT {
		a.RTT = max(rtt, 1)
	}
	return a
}

const (
	flagRST    = 4           // RFC 9293 section 3.1
	longestRTT = time.Minute // a timestamp that says more is not ours, come back as it was
)

// An attachment is the program on one interface.
type attachment struct {
	link   link.Link
	native bool
	drops  uint64 // before
}

// countDrops reads how many packets the interfaces dropped.
func (e *Engine) countDrops() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped = 0
	for iface, a := range e.links {
		c, err := readCounters(iface)
		if err != nil {
			return err
		}
		e.dropped += c.drops - a.drops
	}
	return nil
}
