//go:build unix

package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

func (r *Reader) open() {
	c, ok := r.conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		r.raw, r.try = raw, r.tryRead
	}
}

// tryRead reads what there is. It returns false, the buffer given back, to be called again
// when there is something.
func (r *Reader) tryRead(fd uintptr) bool {
	buf := r.buffers.Get()
	n, err := syscall.Read(int(fd), buf[:])
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), buf[:])
	}
	if n > 0 {
		r.lent, r.n = buf, n
		return true
	}
	r.buffers.Put(buf)
	switch {
	case err == nil:
		r.err = io.EOF
	case errors.Is(err, syscall.EAGAIN):
		return false
	default:
		r.err = &net.OpError{Op: "read", Net: "tcp", Source: r.conn.LocalAddr(), Addr: r.conn.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	}
	return true
}
