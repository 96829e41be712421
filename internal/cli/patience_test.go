package cli

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// When a command is to end, its reader has a second for each write, however long the command takes to come to it; before, all the time it likes.
func TestImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, out := io.Pipe()
		w := &impatient{out: out}
		slow := func(pause time.Duration) {
			time.Sleep(pause)
			_, _ = reads.Read(make([]byte, 1))
		}
		go slow(time.Hour)
		if _, err := w.Write([]byte("1")); err != nil {
			t.Errorf("before it is to end: %v", err)
		}
		w.hurry()
		time.Sleep(time.Minute) // it still computes
		go slow(readerPatience / 2)
		if _, err := w.Write([]byte("2")); err != nil {
			t.Errorf("to a reader that reads: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := w.Write([]byte("3")); err != io.ErrClosedPipe {
			t.Errorf("to a reader that does not: %v", err)
		}
	})
}

// A write that waits already has the second from then on.
func TestImpatientWithAWriteThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, out := io.Pipe()
		w := &impatient{out: out}
		time.AfterFunc(time.Hour, w.hurry)
		start := time.Now()
		if _, err := w.Write([]byte("1")); err != io.ErrClosedPipe || time.Since(start) != time.Hour+readerPatience {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
