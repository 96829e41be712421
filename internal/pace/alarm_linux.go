package pace

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A clock is a timerfd(2) with the runtime's poller: epoll_wait(2) counts in milliseconds there, but a descriptor that
// becomes readable wakes it at once.
type clock struct {
	file *os.File
	buf  [8]byte
	ctx  context.Context // that ends a wait
	stop func() bool     // keeps the AfterFunc from running
	told chan struct{}   // closed when it has run
}

func (c *clock) open() {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err == nil {
		c.file = os.NewFile(uintptr(fd), "timerfd")
	}
}

func (c *clock) isOpen() bool { return c.file != nil }

func (c *clock) close() {
	c.unfollow()
	if c.file != nil {
		_ = c.file.Close()
		c.file = nil
	}
}

// follow makes the end of ctx end a wait: whoever waits often waits with one ctx.
func (c *clock) follow(ctx context.Context) {
	if c.ctx == ctx {
		return
	}
	c.unfollow()
	file, told := c.file, make(chan struct{})
	c.ctx = ctx
	c.told = told
	c.stop = context.AfterFunc(ctx, func() {
		defer close(told)
		_ = file.SetReadDeadline(time.Unix(1, 0))
	})
}

// unfollow leaves nothing behind of a ctx that has ended: the next one's waits are not its.
func (c *clock) unfollow() {
	if c.stop != nil && !c.stop() {
		<-c.told
		_ = c.file.SetReadDeadline(time.Time{})
	}
	c.ctx, c.stop = nil, nil
}

func (c *clock) wait(ctx context.Context, d time.Duration) error {
	c.follow(ctx)
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if cerr := raw.Control(func(fd uintptr) { err = unix.TimerfdSettime(int(fd), 0, &spec, nil) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return os.NewSyscallError("timerfd_settime", err)
	}
	if _, err = c.file.Read(c.buf[:]); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
