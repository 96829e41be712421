package sock

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"
)

// errorPause is how often a socket is looked at that the runtime cannot wait for.
const errorPause = 2 * time.Millisecond

// waitToTake waits for a socket, whose error queue counts too, until take says that it has found something. At the deadline take is called once
// more: what came before counts, though nobody was there to read it.
func waitToTake(conn syscall.RawConn, take func(fd int) bool) error {
	found := false
	look := func(fd uintptr) { found = take(int(fd)) }
	for {
		err := conn.Read(func(fd uintptr) bool {
			look(fd)
			return found
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if cerr := conn.Control(look); cerr != nil || found {
				return cerr
			}
			return err
		case !isNotPollable(err):
			return err
		}
		if cerr := conn.Control(look); cerr != nil || found {
			return cerr
		}
		time.Sleep(errorPause)
	}
}

// isNotPollable reports whether the runtime refuses to wait for a socket. It does so from an event that is EPOLLERR
// alone to the next: the error queue has something, and the buffer for sending is full (runtime/netpoll.go, netpollcheckerr). The
// error itself is not exported (internal/poll, ErrNotPollable).
func isNotPollable(err error) bool {
	return err != nil && strings.Contains(err.Error(), "not pollable")
}
