//go:build unix

package sock

import (
	"errors"
	"os"
	"syscall"
)

func (p *Patient) open() {
	c, ok := p.Conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		p.raw = raw
	}
}

// tryRead reads what there is.
func (p *Patient) tryRead(data []byte) (n int, err error) {
	if closed := p.raw.Read(func(fd uintptr) bool {
		n, err = readNow(fd, data)
		return true
	}); closed != nil {
		return 0, closed
	}
	return n, readFailed(p.Conn, err)
}

// Ready waits until there is something to read, or the peer's FIN, within the read deadline. The kernel tells an error once, so if it is
// met here it is returned here.
func (p *Patient) Ready() error {
	if p.raw == nil {
		return nil
	}
	var err error
	var peeked [1]byte
	if closed := p.raw.Read(func(fd uintptr) bool {
		_, _, err = syscall.Recvfrom(int(fd), peeked[:], syscall.MSG_PEEK)
		return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}); closed != nil {
		return closed
	}
	if err != nil {
		return readFailed(p.Conn, os.NewSyscallError("recvfrom", err))
	}
	return nil
}
