package sock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Gather waits for many UDP sockets at once, with buffers for one: so a thousand sockets cost little more than their descriptors.
// One goroutine reads; Wake may be called at any time. Its sockets are read by nobody else.
//
// It has an epoll instance, and the runtime waits for that one as for any descriptor. Were the sockets the runtime's, it would be told
// of each datagram that has left, too, which takes as long as sending it. And a thread that waits in epoll_wait(2) itself is slower to get going
// than a goroutine.
type Gather struct {
	us     []*UDP
	in     *inbox
	file   *os.File // the epoll instance
	conn   syscall.RawConn
	until  time.Time // the deadline that file has
	events [64]unix.EpollEvent
	next   int // the place of events to look at next; where they are not asked for, of us
	ready  int // so many events

	try   func(epoll uintptr) bool // one look at the sockets, and what it found
	ds    []Datagram
	place int
	n     int
	err   error

	woken atomic.Bool
	waker waker
}

// Gathers says that this system has Gathers.
const Gathers = true

// ErrWoken is what Next returns after Wake.
var ErrWoken = errors.New("woken")

// askAll is up to how many sockets are read from without asking first which of them have something.
const askAll = 2

// NewGather returns a Gather of us. The caller closes it, which leaves the sockets open.
func NewGather(us []*UDP) (*Gather, error) { return newGather(MaxDatagram, us) }

// newGather's size is that of a receive buffer.
func newGather(size int, us []*UDP) (*Gather, error) {
	g := &Gather{us: us, in: newInbox(size)}
	epoll, err := openEpoll(&g.waker)
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(epoll, true) // or package os would not let the runtime wait for it
	g.file = os.NewFile(uintptr(epoll), "epoll")
	g.try = g.look
	if err := g.open(epoll); err != nil {
		g.Close()
		return nil, fmt.Errorf("wait for %d sockets: %w", len(us), err)
	}
	return g, nil
}

func (g *Gather) open(epoll int) (err error) {
	if g.conn, err = g.file.SyscallConn(); err != nil {
		return err
	}
	for i, u := range g.us {
		if err := u.socket.control(func(fd int) error { return epollAdd(epoll, fd, unix.EPOLLIN, i) }); err != nil {
			return err
		}
		u.socket.gather.Store(g)
	}
	return nil
}

// Close lets go of the sockets. Nobody may be in Next.
func (g *Gather) Close() {
	for _, u := range g.us {
		u.socket.gather.CompareAndSwap(g, nil)
	}
	_ = g.file.Close()
	g.waker.close()
}

// Wake makes Next return ErrWoken, the next one if nobody waits.
func (g *Gather) Wake() {
	g.woken.Store(true)
	g.waker.wake()
}

// Next waits until one of the sockets has datagrams and returns its place in us and how many came. Their Data belongs to g and is
// valid until the next call. Sockets that have something have turns. An error is about datagrams of that socket (see UDP.ReadBatch), net.ErrClosed
// that it was closed; with os.ErrDeadlineExceeded (until is over; the zero time is never) and ErrWoken it is no socket's.
func (g *Gather) Next(ds []Datagram, until time.Time) (place, n int, err error) {
	if g.in.left() {
		n, err := g.in.read(g.us[g.place], ds)
		return g.place, n, err
	}
	if until != g.until {
		if err := g.file.SetReadDeadline(until); err != nil {
			return -1, 0, err
		}
		g.until = until
	}
	g.ds = ds
	err = g.conn.Read(g.try)
	g.ds = nil
	switch {
	case err == nil:
		return g.place, g.n, g.err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return -1, 0, os.ErrDeadlineExceeded
	}
	return -1, 0, err
}

// look reads from the next socket that has something. It returns false if there is none, to be called again when there may be one.
func (g *Gather) look(epoll uintptr) bool {
	if g.woken.Load() {
		return g.wakeUp()
	}
	if len(g.us) <= askAll {
		return g.lookAtAll()
	}
	for g.next < g.ready || g.ask(epoll) {
		place := int(g.events[g.next].Fd)
		g.next++
		if place == wakeEvent {
			return g.wakeUp()
		}
		if g.read(place) {
			return true
		}
	}
	return false
}

func (g *Gather) lookAtAll() bool {
	for range g.us {
		place := g.next
		g.next = (g.next + 1) % len(g.us)
		if g.read(place) {
			return true
		}
	}
	return false
}

// ask asks which sockets have something.
func (g *Gather) ask(epoll uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&g.events)), uintptr(len(g.events)), 0, 0, 0)
	g.next, g.ready = 0, int(n)
	if errno != 0 {
		g.ready = 0
	}
	return g.ready > 0
}

// read returns false if the socket has nothing.
func (g *Gather) read(place int) bool {
	g.n, g.err = g.in.read(g.us[place], g.ds)
	g.place = place
	return !errors.Is(g.err, unix.EAGAIN)
}

// wakeUp looks for who was closed: epoll says nothing of that.
func (g *Gather) wakeUp() bool {
	g.woken.Store(false)
	g.waker.noticed()
	for i, u := range g.us {
		if u.socket.closed.Load() {
			g.place, g.n, g.err = i, 0, net.ErrClosed
			return true
		}
	}
	g.place, g.n, g.err = -1, 0, ErrWoken
	return true
}
