package sock

import (
	"os"

	"golang.org/x/sys/unix"
)

// AdoptUDP makes a UDP socket that somebody else has bound move datagrams in batches. f stays the caller's: what is returned has a
// descriptor of its own.
func AdoptUDP(f *os.File) (*UDP, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	control := raw.Control(func(given uintptr) {
		if fd, err = unix.FcntlInt(given, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, false) // as bindUDP has it
		}
	})
	if control != nil {
		return nil, control
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	u := new(UDP)
	if u.local, u.info, err = u.socket.take(fd, MaxDatagram); err != nil {
		return nil, err
	}
	return u, nil
}
