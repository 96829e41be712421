package serve

import (
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"syscall"
)

// A Refusal is why a connection was closed at once, without a conversation.
type Refusal uint8

// The refusals.
const (
	Full      Refusal = iota // Limits.MaxConns are open
	FullOfOne                // Limits.MaxPerSource of this client's address are open
	Denied                   // Access does not permit the client
	refusals
)

// String names a refusal in one word, as a metric's label has it.
func (r Refusal) String() string {
	return [refusals]string{"max-conns", "max-conns-per-source", "denied"}[r]
}

// Counts are what servers have done so far over TCP: of one Server, or of several together. They may be read at any time. The zero value is ready.
type Counts struct {
	Open     atomic.Int64            // connections now
	Accepted atomic.Uint64           // connections in all, those refused left out
	Refused  [refusals]atomic.Uint64 // by Refusal
	In, Out  atomic.Uint64           // bytes
	failed   sync.Map                // accepts that failed: syscall.Errno → *atomic.Uint64
}

// addFailed counts an accept that failed.
func (c *Counts) addFailed(err error) {
	var errno syscall.Errno
	errors.As(err, &errno)
	n, _ := c.failed.LoadOrStore(errno, new(atomic.Uint64))
	n.(*atomic.Uint64).Add(1)
}

// EachFailed yields how often accepting failed, by error.
func (c *Counts) EachFailed() iter.Seq2[syscall.Errno, uint64] {
	return func(yield func(syscall.Errno, uint64) bool) {
		c.failed.Range(func(errno, n any) bool { return yield(errno.(syscall.Errno), n.(*atomic.Uint64).Load()) })
	}
}
