package cli

import (
	"io"
	"os"
	"sync"
)

// An interruptibleFile is a file of ours whose Read ends when it is closed. A console
// or a pipe that is read cannot be woken on Windows, so the one goroutine that reads it is left
// behind, at most one for the life of the process, and what it still reads is lost.
type interruptibleFile struct {
	f      *os.File
	start  sync.Once
	asked  chan int
	got    chan read
	closed chan struct{}
	close  sync.Once
}

type read struct {
	data []byte
	err  error
}

// interruptible returns a view of f that Close ends. The file itself stays open.
func interruptible(f *os.File) io.ReadWriteCloser {
	return &interruptibleFile{f: f, asked: make(chan int), got: make(chan read, 1), closed: make(chan struct{})}
}

func (i *interruptibleFile) Read(p []byte) (int, error) {
	i.start.Do(func() { go i.serve() })
	select {
	case i.asked <- len(p):
	case <-i.closed:
		return 0, os.ErrClosed
	}
	select {
	case r := <-i.got:
		return copy(p, r.data), r.err
	case <-i.closed:
		return 0, os.ErrClosed
	}
}

func (i *interruptibleFile) serve() {
	for {
		select {
		case n := <-i.asked:
			buf := make([]byte, n)
			n, err := i.f.Read(buf)
			i.got <- read{buf[:n], err}
		case <-i.closed:
			return
		}
	}
}

func (i *interruptibleFile) Write(p []byte) (int, error) { return i.f.Write(p) }

// Close ends a Read that waits, now and later.
func (i *interruptibleFile) Close() error {
	i.close.Do(func() { close(i.closed) })
	return nil
}

// suspend does nothing: Windows has no job control.
func suspend() {}

// watch does nothing: a console sends no signals for its size or for job control.
func watch(*terminal) (stop func()) { return func() {} }
