package sock

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// BindToDevice makes what a socket sends leave by one interface only (socket(7), SO_BINDTODEVICE). It is for
// net.Dialer.Control.
func BindToDevice(c syscall.RawConn, iface string) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), iface) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("bind to interface %s: %w", iface, err)
	}
	return nil
}
