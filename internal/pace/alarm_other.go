//go:build !linux

package pace

import (
	"context"
	"time"
)

// A clock is nothing here: an Alarm has Go's timers.
type clock struct{}

func (*clock) open()        {}
func (*clock) isOpen() bool { return false }
func (*clock) close()       {}

func (*clock) wait(context.Context, time.Duration) error { return nil }
