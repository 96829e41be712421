package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A signalError is the cause of a context that a signal ended.
type signalError syscall.Signal

func (e signalError) Error() string {
	switch syscall.Signal(e) {
	case syscall.SIGINT:
		return "interrupted"
	case syscall.SIGTERM:
		return "terminated"
	case syscall.SIGHUP:
		return "the terminal hung up"
	}
	return syscall.Signal(e).String()
}

// signalOr returns err, unless a signal was the cause: then that signal's exit code.
func signalOr(cause, err error) error {
	var sig signalError
	if errors.As(cause, &sig) {
		return exitWith(128 + int(sig))
	}
	return err
}

// endedBySignal returns a context that SIGINT, SIGTERM or SIGHUP ends, with a signalError
// as its cause. Ending takes no longer than a moment; after that another signal kills.
func endedBySignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals, done, joined := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		defer close(joined)
		defer signal.Stop(signals)
		select {
		case sig := <-signals:
			cancel(signalError(sig.(syscall.Signal)))
		case <-done:
			return
		}
		select {
		case <-time.After(2 * time.Second):
		case <-done:
		}
	}()
	return ctx, func() {
		close(done)
		<-joined
		cancel(nil)
	}
}
