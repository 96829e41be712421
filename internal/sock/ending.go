package sock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// Ending is how a conversation ended, as seen from this side.
type Ending uint8

// The endings. Every program here tells them apart: on screen, in JSON and by exit code.
const (
	ByPeer   Ending = iota // the peer's FIN, after which nothing more can come
	ByUs                   // we closed, in order
	Reset                  // the peer's RST (ECONNRESET, EPIPE), or a refusal
	TimedOut               // silence: ours (a deadline) or the kernel's (ETIMEDOUT)
	Limit                  // a limit of our own: descriptors, memory, buffer space
	Failed                 // anything else; the error says what
)

var endingNames = [...]string{"fin", "closed", "reset", "timeout", "limit", "error"}

// String returns the ending's one-word name, as JSON has it.
func (e Ending) String() string {
	if int(e) < len(endingNames) {
		return endingNames[e]
	}
	return fmt.Sprintf("ending(%d)", uint8(e))
}

// EndingOf classifies the error that ended a read or a write. A nil error and io.EOF are the peer's FIN.
func EndingOf(err error) Ending {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return ByPeer
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ErrTimedOut):
		return TimedOut
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ByUs
	case isReset(err):
		return Reset
	case IsLimit(err):
		return Limit
	}
	return Failed
}

// IsLimit reports whether err is a shortage of our own (descriptors, memory, buffers,
// source ports) and so says nothing about the peer.
func IsLimit(err error) bool {
	for _, limit := range limits {
		if errors.Is(err, limit) {
			return true
		}
	}
	return false
}

func isReset(err error) bool {
	return errors.Is(err, ErrReset) || errors.Is(err, ErrBrokenPipe) || errors.Is(err, ErrRefused)
}
