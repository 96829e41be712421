package sock

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A wake is reported until it is noticed, however many they were.
func TestWakerWakes(t *testing.T) {
	var w waker
	epoll, err := openEpoll(&w)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(epoll) }()
	defer w.close()
	events := make([]unix.EpollEvent, 2)
	if n, err := unix.EpollWait(epoll, events, 0); n != 0 || err != nil {
		t.Errorf("before: %d events, %v", n, err)
	}
	for range 2 {
		w.wake()
		w.wake()
		for range 2 {
			if n, err := unix.EpollWait(epoll, events, 0); n != 1 || err != nil || events[0].Fd != wakeEvent {
				t.Errorf("woken: %d events, %+v, %v", n, events[0], err)
			}
		}
		w.noticed()
		if n, err := unix.EpollWait(epoll, events, 0); n != 0 || err != nil {
			t.Errorf("noticed: %d events, %v", n, err)
		}
	}
}

// One that comes too late writes to nobody, whoever has the descriptor by now.
func TestWakeAfterClose(t *testing.T) {
	var w waker
	epoll, err := openEpoll(&w)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(epoll) }()
	w.close()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(unix.Close(fds[0]), unix.Close(fds[1])) }()
	w.fd = fds[1] // as it may well be, since its number is free
	w.wake()
	if n, err := unix.Read(fds[0], make([]byte, 8)); err != unix.EAGAIN {
		t.Errorf("%d bytes were written to a stranger, %v", n, err)
	}
}
