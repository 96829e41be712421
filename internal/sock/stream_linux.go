package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// streamSource is a listening socket in Go's poller, which it needs for waiting only.
type streamSource struct {
	file   *os.File
	raw    syscall.RawConn
	scopes scopes
}

// ListenStreams takes a TCP listener over: its socket changes hands, and l is closed. The caller closes what is returned. What is no
// TCP listener is refused, and left as it is.
//
// What connections have in common is set on the listener and inherited: no delay (TCP_NODELAY), as package net has it, and the same
// search for peers that have vanished (tcp(7), TCP_KEEPIDLE).
func ListenStreams(l net.Listener) (*StreamListener, error) {
	t, ok := l.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("listen at %v without the scheduler: %w", l.Addr(), errors.ErrUnsupported)
	}
	file, err := t.File()
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { setInherited(int(fd)) })
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	_ = l.Close()
	return &StreamListener{streamSource{file, raw, scopes{}}}, nil
}

func setInherited(fd int) {
	for _, o := range [...]struct{ level, option, value int }{
		{unix.SOL_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.SOL_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.SOL_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.SOL_TCP, unix.TCP_KEEPCNT, 9},
	} {
		_ = unix.SetsockoptInt(fd, o.level, o.option, o.value) // a listener without them serves as well
	}
}

// Accept waits for the next connection. After Close it returns net.ErrClosed. One goroutine calls it at a time.
func (l *StreamListener) Accept() (*Stream, error) {
	var fd int
	var sa unix.Sockaddr
	var err error
	if l.raw.Read(func(listener uintptr) bool {
		fd, sa, err = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return err != unix.EAGAIN
	}) != nil {
		return nil, net.ErrClosed
	}
	if err != nil {
		return nil, os.NewSyscallError("accept4", err)
	}
	s := &Stream{fd: fd, peer: l.scopes.addrPort(sa)}
	if sa, err := unix.Getsockname(fd); err == nil {
		s.local = l.scopes.addrPort(sa)
	}
	return s, nil
}

// SyscallConn is for waiting until somebody can be accepted (RawConn.Read), and the like.
func (l *StreamListener) SyscallConn() (syscall.RawConn, error) { return l.raw, nil }

// Close ends the listening; a waiting Accept returns.
func (l *StreamListener) Close() error { return l.file.Close() }

// Read reads what there is, or returns ErrWouldBlock; the peer's FIN is io.EOF. It is recv(2), without the scheduler, which
// is told of calls that may wait: this one does not, and is most of what a loop does.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		switch {
		case errno == 0 && n > 0:
			return int(n), nil
		case errno == 0:
			return 0, io.EOF
		case errno != unix.EINTR:
			return 0, streamError("recv", errno)
		}
	}
}

// Write writes what the socket takes, which may be less than p, or returns ErrWouldBlock.
func (s *Stream) Write(p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			return int(n), nil
		case errno != unix.EINTR:
			return 0, streamError("send", errno)
		}
	}
}

func streamError(call string, errno unix.Errno) error {
	if errno == unix.EAGAIN {
		return ErrWouldBlock
	}
	return os.NewSyscallError(call, errno)
}

// Untaken returns how many bytes the peer's kernel has not acknowledged (tcp(7), SIOCOUTQ); 0 if that is not known. While nothing is
// written it only falls, and it falls as the peer reads: a kernel acknowledges no more than it has room for.
func (s *Stream) Untaken() int {
	n, _ := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	return n
}

// CloseWrite sends our FIN.
func (s *Stream) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
}

// SetLinger makes the close to come a reset if sec is 0 (socket(7), SO_LINGER).
func (s *Stream) SetLinger(sec int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(sec)}))
}

// Close ends the connection; with unread input it is a reset.
func (s *Stream) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }
