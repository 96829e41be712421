package sock

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A poller is an epoll instance, and what wakes it.
type poller struct {
	epoll  int
	waker  waker
	events [256]unix.EpollEvent
	keys   [256]int
}

// NewLoop returns a Loop, which takes two descriptors. The caller closes it.
func NewLoop() (*Loop, error) {
	l := &Loop{}
	var err error
	l.epoll, err = openEpoll(&l.waker)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends the Loop. Streams that it watched stay open.
func (l *Loop) Close() {
	_ = unix.Close(l.epoll)
	l.waker.close()
}

// Wake makes Wait return.
func (l *Loop) Wake() { l.waker.wake() }

// Watch begins to wait for something to read from s.
func (l *Loop) Watch(s *Stream) error { return l.control(unix.EPOLL_CTL_ADD, s.fd, unix.EPOLLIN) }

// Blocked begins to wait for room to write to s, and for nothing else; with false it is read from again.
func (l *Loop) Blocked(s *Stream, blocked bool) error {
	if blocked {
		return l.control(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLOUT)
	}
	return l.control(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN)
}

// control is epoll_ctl(2).
func (l *Loop) control(op, fd int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(l.epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// Wait waits until streams are ready, Wake was called or the timeout (none below 0) is over. It returns the keys of the streams, valid until the
// next call. While there is always something it does not wait, and the scheduler is not told: that costs more than asking the kernel.
func (l *Loop) Wait(timeout time.Duration) []int {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), 0, 0, 0)
	n := int(r)
	if errno != 0 {
		n = 0
	}
	if n == 0 && timeout != 0 {
		n, _ = unix.EpollWait(l.epoll, l.events[:], milliseconds(timeout)) // EINTR, nothing else
	}
	keys := l.keys[:0]
	for _, e := range l.events[:max(n, 0)] {
		if e.Fd == wakeEvent {
			l.waker.noticed()
			continue
		}
		keys = append(keys, int(e.Fd))
	}
	return keys
}
