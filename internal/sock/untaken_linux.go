package sock

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Untaken returns how many bytes were written to a TCP connection that the peer's kernel has not acknowledged (tcp(7), SIOCOUTQ).
func Untaken(c syscall.Conn) (n int, err error) {
	err = onFD(c, func(fd int) error {
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return os.NewSyscallError("ioctl SIOCOUTQ", err)
	})
	return n, err
}
