package cli

import (
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A promptFile writes what its file takes at once with one system call, instead of asking first whether it takes something: a server may
// have a million lines to write. The rest, and what a file cannot take in this way (a terminal), goes by way of who can wait.
type promptFile struct {
	fd     int
	waits  io.WriteCloser
	closed atomic.Bool
}

func promptly(f *os.File, waits io.WriteCloser) io.WriteCloser {
	return &promptFile{fd: int(f.Fd()), waits: waits}
}

// Write implements io.Writer by way of pwritev2(2) with RWF_NOWAIT, where the kernel has it for the file.
func (p *promptFile) Write(data []byte) (int, error) {
	written := 0
	if !p.closed.Load() && len(data) > 0 {
		n, _ := unix.Pwritev2(p.fd, [][]byte{data}, -1, unix.RWF_NOWAIT)
		written = max(n, 0) // an error will come again
	}
	if written == len(data) && !p.closed.Load() {
		return written, nil
	}
	n, err := p.waits.Write(data[written:])
	return written + n, err
}

// Close ends what waits, now and later.
func (p *promptFile) Close() error {
	p.closed.Store(true)
	return p.waits.Close()
}
