// Package talk holds one conversation with one peer: bytes or datagrams in, replies
// out, and how it ended.
//
// Package dial makes the connection, a Conversation says how to behave, a Printer takes
// what the peer says, and a Summary tells the end. Stream speaks over TCP, Datagrams
// over UDP. Both own what they are given: they close the connection and the input
// before they return, and join every goroutine they started. Three goroutines
// share the work: one reads the input and sends, one receives and prints, and the
// caller's own decides when it is over. A panic in any of them is raised again in the
// caller's, so that its deferred calls (a terminal to be restored) still run.
package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"sonde/internal/sock"
)

// A Conversation says how to behave in one. Its zero value speaks for a pipe: exact,
// patient over TCP, and waiting one second for the answers to the last datagram.
type Conversation struct {
	// Wait is how long the peer may stay silent after the end of the input. Zero is for
	// ever over TCP and one second over UDP and for a person; less than zero does not wait at all.
	Wait time.Duration

	// Interactive says that the input is a person, whose end of input means to leave:
	// the peer has a moment to agree, and is not waited for. The peer's FIN ends the
	// conversation at once, and what becomes of every datagram is noted.
	Interactive bool

	// Commands, if not nil, has lines of the input that begin with a slash done instead of sent.
	Commands *Commands

	CRLF bool // each line feed of the input is sent as CR LF, unless it is one already
	One  bool // Datagrams sends the whole input as one

	// Note, if not nil, is told in words what happens meanwhile and ends nothing. It is
	// called from one goroutine at a time.
	Note func(text string)

	// Detail, if not nil, is told as Note is what only some want to know.
	Detail func(text string)

	bufferSize int // for a datagram received; zero is 65,536, more than any can be
}

// A Count is what went one way. Messages are datagrams, or the lines of a stream, the
// last one counted though it may lack its line feed.
type Count struct {
	Bytes, Messages int64
	Empty           int64 // datagrams without a byte
	Truncated       int64 // datagrams of which the end was lost
}

// A Summary tells how a conversation ended.
type Summary struct {
	Ending         sock.Ending
	How            string // who ended it and by what, in words
	Err            error  // what failed, with sock.Failed and sock.Limit (an *OutputError when it was the output); the cause of the context's end
	Sent, Received Count
	PeerClosed     bool // a stream's peer closed its side in order
	Refusals       int  // datagrams that were told to have gone nowhere
	Elapsed        time.Duration
	unit           string
}

// An OutputError is a Printer's: what the peer said could not be written.
type OutputError struct{ Err error }

// Error returns the reason.
func (e *OutputError) Error() string { return "write output: " + e.Err.Error() }

// Unwrap returns what the Printer returned.
func (e *OutputError) Unwrap() error { return e.Err }

// How long things take that no flag sets.
const (
	leaveTime   = time.Second            // a person leaves: the peer's time to close its side, if Wait does not say
	drainTime   = time.Second            // our write failed: time to read what the peer still said
	lingerTime  = time.Second            // the peer closed its side: time for the input to bring more
	hangTime    = 2 * time.Second        // silence after our FIN that needs an explanation
	splitTime   = 100 * time.Millisecond // a character was cut in two: time for its rest to come
	refusedTime = 500 * time.Millisecond // a refusal while the input is open: told after this
	silentTime  = time.Second            // a datagram without a reply: told after this
	forever     = 1 << 62
)

// A session is one run of a Conversation.
type session struct {
	Conversation
	conn  net.Conn
	in    io.ReadCloser
	out   Printer
	start time.Time

	sent, heard direction
	printing    atomic.Bool // the Printer has the floor: the peer is not to blame for silence

	holding bool // the receiver's: the Printer waits for the rest of a character

	ended      bool // summary is final
	inputEnded time.Duration
	summary    Summary
	panicked   any
}

// A direction counts what goes one way. One goroutine counts, anybody may read.
type direction struct {
	bytes, messages, empty, truncated atomic.Int64
	last                              atomic.Int64 // when something last went, since the session's start; zero: never
}

func (d *direction) count() Count {
	return Count{d.bytes.Load(), d.messages.Load(), d.empty.Load(), d.truncated.Load()}
}

// now is the time since the session's start, and never zero, which stands for never.
func (s *session) now() time.Duration { return time.Since(s.start) + 1 }

func (d *direction) mark(now time.Duration) { d.last.Store(int64(now)) }

func (d *direction) when() time.Duration { return time.Duration(d.last.Load()) }

// endPanicked ends what finish will raise again.
func (s *session) endPanicked(value any) {
	s.panicked, s.ended = value, true
}

// end settles how the conversation ended. The first word stands.
func (s *session) end(ending sock.Ending, err error, how string) {
	if s.ended {
		return
	}
	s.ended = true
	s.summary.Ending, s.summary.Err, s.summary.How = ending, err, how
}

// endInterrupted ends what the caller's context ended.
func (s *session) endInterrupted(ctx context.Context) {
	cause := context.Cause(ctx)
	s.end(sock.ByUs, cause, fmt.Sprintf("we closed (%v)", cause))
}

// weClosed is how the end of the input ends it, in words.
func (s *session) weClosed() string {
	if s.Interactive {
		return "we closed"
	}
	return "we closed (end of input)"
}

// endOutput ends a conversation whose other end, here, is gone.
func (s *session) endOutput(err *OutputError) {
	s.end(sock.Failed, err, "we closed: "+err.Error())
}

func (s *session) note(text string) {
	if s.Note != nil {
		s.Note(text)
	}
}

func (s *session) detail(text string) {
	if s.Detail != nil {
		s.Detail(text)
	}
}

// silence is how long nothing came from the peer, counted from no earlier than since.
func (s *session) silence(since time.Duration) time.Duration {
	if s.printing.Load() {
		return 0
	}
	return s.now() - max(since, s.heard.when())
}

// finish closes what the session owns, joins its goroutines and adds up.
func (s *session) finish(running ...<-chan outcome) Summary {
	_ = s.in.Close()
	_ = s.conn.Close()
	for _, done := range running {
		if o := <-done; o.panicked != nil {
			s.panicked = o.panicked
		}
	}
	if s.panicked != nil {
		panic(s.panicked)
	}
	s.summary.Sent, s.summary.Received = s.sent.count(), s.heard.count()
	s.summary.Elapsed = time.Since(s.start)
	return s.summary
}

// An outcome is how a goroutine ended.
type outcome struct {
	err      error
	panicked any
}

// spawn runs f. Its outcome is received once; later the channel is closed.
func spawn(f func() error) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.panicked = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
			done <- o
			close(done)
		}()
		o.err = f()
	}()
	return done
}

// print hands a reply to the Printer, and arranges for what it holds back to be
// flushed when the rest does not come.
func (s *session) print(data []byte, truncated bool) error {
	r := Reply{Data: data, Time: time.Now(), After: -1, Truncated: truncated}
	now := s.now()
	if sent := s.sent.when(); sent != 0 {
		r.After = now - sent
	}
	s.printing.Store(true)
	s.heard.mark(now)
	held, err := s.out.Print(r)
	s.heard.mark(s.now())
	s.printing.Store(false)
	if err != nil {
		return &OutputError{err}
	}
	if held || s.holding {
		var deadline time.Time
		if s.holding = held; held {
			deadline = time.Now().Add(splitTime)
		}
		_ = s.conn.SetReadDeadline(deadline) // fails on a closed connection only, which the next read tells
	}
	return nil
}

// flush writes what the Printer still holds.
func (s *session) flush() error {
	if s.holding {
		s.holding = false
		_ = s.conn.SetReadDeadline(time.Time{})
	}
	if err := s.out.Flush(); err != nil {
		return &OutputError{err}
	}
	return nil
}

// asOutput returns err as the Printer's, or nil when it is another's.
func asOutput(err error) *OutputError {
	var o *OutputError
	if errors.As(err, &o) {
		return o
	}
	return nil
}
