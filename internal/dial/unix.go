package dial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"sonde/internal/sock"
)

// MaxUnixPath is the most bytes that the path of a socket has: sun_path with its final zero (unix(7)).
const MaxUnixPath = 107

// A UnixError says why there is no connection to a socket in the file system.
type UnixError struct {
	Path   string
	Ending sock.Ending // Reset: nobody listens; TimedOut; Limit; else Failed
	Err    error

	other bool // the path is there, and is no socket's
}

// Error names the socket and the reason.
func (e *UnixError) Error() string {
	switch {
	case e.other:
		return fmt.Sprintf("unix:%s is no socket", e.Path)
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("unix:%s does not exist", e.Path)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("unix:%s may not be used by this user", e.Path)
	case e.Ending == sock.Reset:
		return fmt.Sprintf("connection refused by unix:%s: nobody listens there", e.Path)
	case errors.Is(e.Err, syscall.EPROTOTYPE):
		return fmt.Sprintf("unix:%s is no stream but a socket for messages", e.Path)
	case e.Ending == sock.TimedOut:
		return fmt.Sprintf("unix:%s takes no more connections: its queue is full", e.Path)
	}
	return fmt.Sprintf("connect to unix:%s: %v", e.Path, e.Err)
}

// Unwrap returns the system's error.
func (e *UnixError) Unwrap() error { return e.Err }

// NoSocket reports whether something else than a socket is at the path.
func (e *UnixError) NoSocket() bool { return e.other }

// Abstract reports whether the socket has a name but no file (Linux, unix(7)).
func (e *UnixError) Abstract() bool { return strings.HasPrefix(e.Path, "@") }

// DialUnix connects to the stream socket at path, or with a leading @ to the one of that name
// in Linux's abstract name space. Its error is a *UnixError, or the cause of ctx's end.
func (d Dialer) DialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	dialer := net.Dialer{Timeout: d.timeout()}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err == nil {
		return conn.(*net.UnixConn), nil
	}
	e := &UnixError{Path: path, Ending: sock.EndingOf(err), Err: err}
	var network net.Error
	var errno syscall.Errno
	switch {
	// A full queue is EAGAIN at once (unix(7)), which counts as a time-out.
	case errors.As(err, &network) && network.Timeout():
		e.Ending = sock.TimedOut
	case errors.As(err, &errno):
		e.Err = errno // the rest of the chain repeats the path
	}
	if info, err := os.Stat(path); err == nil && !e.Abstract() && info.Mode()&(fs.ModeSocket|fs.ModeIrregular) == 0 {
		e.Ending, e.other = sock.Failed, true // the system's word is that of a socket without a server
	}
	return nil, e
}
