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
	n, err := readNow(fd, buf[:])
	if n > 0 {
		r.lent, r.n = buf, n
		return true
	}
	r.buffers.Put(buf)
	if errors.Is(err, ErrWouldBlock) {
		return false
	}
	r.err = readFailed(r.conn, err)
	return true
}

// readNow reads what there is, or returns ErrWouldBlock; the peer's FIN is io.EOF.
func readNow(fd uintptr, data []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), data)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, syscall.EAGAIN):
			return 0, ErrWouldBlock
		case !errors.Is(err, syscall.EINTR):
			return 0, os.NewSyscallError("read", err)
		}
	}
}

// readFailed tells of a system call's error as package net does.
func readFailed(conn net.Conn, err error) error {
	if _, ok := errors.AsType[*os.SyscallError](err); !ok {
		return err
	}
	return &net.OpError{Op: "read", Net: "tcp", Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: err}
}
