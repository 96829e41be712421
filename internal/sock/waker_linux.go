package sock

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A waker is an eventfd (eventfd(2)), by which any goroutine makes the one that waits for an epoll instance look up.
type waker struct {
	fd     int
	mu     sync.Mutex // guards closed: a wake too late would write to whoever has the descriptor then
	closed bool
}

// wakeEvent is what an event of the waker has in place of a descriptor.
const wakeEvent = -1

// openEpoll returns an epoll instance, the caller's to close, and opens w, which wakes it.
func openEpoll(w *waker) (epoll int, err error) {
	if epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return -1, os.NewSyscallError("epoll_create1", err)
	}
	if w.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(epoll)
		return -1, os.NewSyscallError("eventfd", err)
	}
	if err := epollAdd(epoll, w.fd, unix.EPOLLIN, wakeEvent); err != nil {
		_ = unix.Close(epoll)
		w.close()
		return -1, err
	}
	return epoll, nil
}

// epollAdd begins to watch fd for events, which have key in place of a descriptor.
func epollAdd(epoll, fd int, events uint32, key int) error {
	e := unix.EpollEvent{Events: events, Fd: int32(key)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &e))
}

// wake has the instance report wakeEvent, now or when it is asked. After close it does nothing.
func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	one := [8]byte{1}
	_, _ = unix.Write(w.fd, one[:]) // EAGAIN: the counter is full, so it wakes already
}

// noticed ends the report.
func (w *waker) noticed() {
	var count [8]byte
	_, _ = unix.Read(w.fd, count[:])
}

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = unix.Close(w.fd)
	w.closed = true
}
