//go:build unix

package cli

import (
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An interruptibleFile is a file of ours whose Read or Write ends when it is closed. The
// standard streams are shared with the processes that gave them to us, so they must not be
// made non-blocking (which a deadline would need): it waits with select(2), on the file
// and on a pipe of its own.
type interruptibleFile struct {
	f      *os.File
	wait   *os.File // readable once closed
	wake   *os.File // the pipe's other end
	closed atomic.Bool
}

// interruptible returns a view of f that Close ends. The file itself stays open.
func interruptible(f *os.File) io.ReadWriteCloser {
	r, w, err := os.Pipe()
	if err != nil || r.Fd() >= unix.FD_SETSIZE || f.Fd() >= unix.FD_SETSIZE {
		return unclosed{f} // short of descriptors: without it everything else still works
	}
	return &interruptibleFile{f: f, wait: r, wake: w}
}

// unclosed is a file that Close does not interrupt.
type unclosed struct{ *os.File }

func (unclosed) Close() error { return nil }

func (i *interruptibleFile) Read(p []byte) (int, error) {
	if err := i.ready(false); err != nil {
		return 0, err
	}
	return i.f.Read(p)
}

// pipeBuf is what a pipe that can be written to takes without blocking (pipe(7)).
const pipeBuf = 4096

func (i *interruptibleFile) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if err = i.ready(true); err != nil {
			break
		}
		var written int
		written, err = i.f.Write(p[n:min(n+pipeBuf, len(p))])
		n += written
	}
	return n, err
}

// Close ends what waits, now and later.
func (i *interruptibleFile) Close() error {
	if i.closed.Swap(true) {
		return nil
	}
	return i.wake.Close()
}

// ready waits until the file can be read, or written, or is closed.
func (i *interruptibleFile) ready(write bool) error {
	file, wait := int(i.f.Fd()), int(i.wait.Fd())
	for {
		var reads, writes unix.FdSet
		reads.Set(wait)
		if write {
			writes.Set(file)
		} else {
			reads.Set(file)
		}
		_, err := unix.Select(max(file, wait)+1, &reads, &writes, nil, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("select", err)
		case i.closed.Load():
			return os.ErrClosed
		}
		return nil
	}
}

// suspend stops this job as the terminal itself would: the whole foreground group.
func suspend() { _ = syscall.Kill(0, syscall.SIGTSTP) }

// watch keeps t right while the job is stopped and continued and the window is resized,
// until the function it returns is called.
func watch(t *terminal) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH)
	done, joined := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(joined)
		defer t.giveBack()
		for {
			select {
			case sig := <-signals:
				act(t, sig, signals)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		<-joined
	}
}

// act does what a signal asks of a terminal.
func act(t *terminal, sig os.Signal, signals chan os.Signal) {
	switch sig {
	case syscall.SIGTSTP:
		if orphaned() {
			return
		}
		t.leave()
		// SIGTSTP's default effect cannot be had back once it was asked for, so its
		// stronger sibling. It may take effect on another thread first.
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
		awaitContinue(signals)
		t.enter()
	case syscall.SIGCONT:
		t.enter()
	case syscall.SIGWINCH:
		t.resize()
	}
}

// orphaned reports whether no shell is there that would continue this process: then
// SIGTSTP stops nothing (POSIX, orphaned process group).
func orphaned() bool {
	own, err := unix.Getsid(0)
	if err != nil {
		return true
	}
	parents, err := unix.Getsid(syscall.Getppid())
	return err != nil || own != parents
}

// awaitContinue waits for the SIGCONT that ends a stop.
func awaitContinue(signals chan os.Signal) {
	timeout := time.After(time.Second) // the stop was refused after all
	for {
		select {
		case sig := <-signals:
			if sig == syscall.SIGCONT {
				return
			}
		case <-timeout:
			return
		}
	}
}
