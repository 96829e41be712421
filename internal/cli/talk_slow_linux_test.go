package cli

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// peerSlow fills the queue of a listener that accepts nobody: Linux then drops further SYNs (listen(2), backlog).
func peerSlow() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return err
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	port := at.(*unix.SockaddrInet4).Port
	for range 8 {
		// One more than the queue holds; the rest wait in vain.
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.2:%d", port), 100*time.Millisecond)
		if err != nil {
			break
		}
		defer func() { _ = c }() // held as long as the program runs
	}
	return peerEcho("tcp", fmt.Sprintf("127.0.0.3:%d", port), nil)
}
