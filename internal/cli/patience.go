package cli

import (
	"io"
	"sync"
	"time"
)

// readerPatience is how long a write may wait for its reader when a command is to end.
const readerPatience = time.Second

// An impatient writer lets a write wait as long as its reader likes until hurry is called, and then no longer than readerPatience.
// What is still computed meanwhile does not count.
type impatient struct {
	out  io.WriteCloser // Close ends a Write that waits
	turn sync.Mutex     // of the write that is under way

	mu      sync.Mutex
	hurried bool
	writing bool
	timer   *time.Timer // of the write that waits
}

// Write implements io.Writer. One write is done after the other.
func (w *impatient) Write(p []byte) (int, error) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.set(true)
	defer w.set(false)
	return w.out.Write(p)
}

// hurry is called when the command is to end.
func (w *impatient) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = true
	w.arm()
}

func (w *impatient) set(writing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = writing
	w.arm()
}

// arm starts the clock of a write, or stops it when the write is over.
func (w *impatient) arm() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if w.hurried && w.writing {
		w.timer = time.AfterFunc(readerPatience, func() { _ = w.out.Close() })
	}
}
