package pace

import (
	"context"
	"time"
)

// An Alarm wakes one goroutine at times that it sets. The zero value is a timer of Go's, which may be a
// millisecond late on an idle machine; Precise is better where it can be.
type Alarm struct {
	clock clock
	timer *time.Timer
}

// Precise returns an Alarm that wakes to some tens of microseconds, where the system has such a clock, and the
// zero value's kind where not. The caller closes it.
func Precise() *Alarm {
	a := &Alarm{}
	a.clock.open()
	return a
}

// Close gives the clock back.
func (a *Alarm) Close() {
	a.clock.close()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// Wait returns nil at that time, at once if it is past, and the cause of ctx's end if that comes first. It does not
// wait busily.
func (a *Alarm) Wait(ctx context.Context, until time.Time) error {
	wait := time.Until(until)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case wait <= 0:
		return nil
	case a.clock.isOpen():
		return a.clock.wait(ctx, wait)
	}
	if a.timer == nil {
		a.timer = time.NewTimer(wait)
	} else {
		a.timer.Reset(wait)
	}
	select {
	case <-a.timer.C:
		return nil
	case <-ctx.Done():
		a.timer.Stop()
		return context.Cause(ctx)
	}
}
