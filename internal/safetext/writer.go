package safetext

import "io"

// pieceSize bounds how much is made safe at once, and so a Writer's memory: no more than
// four bytes come out for one that goes in.
const pieceSize = 4096

// A Writer passes a stream from a stranger on to a terminal, in the stream form. How the
// stream is cut into writes does not change what comes out.
//
// A character that a write has cut in two is held, at most three bytes of it, until the
// rest comes or Flush is called. ASCII is never held. A Writer belongs to one goroutine,
// and so does the timer's call of Flush. The underlying writer stays the caller's.
type Writer struct {
	w   io.Writer
	in  []byte // what is held, then the piece at hand
	out []byte // its safe form
	err error  // the first error of w; nothing can follow it
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w}
}

// Write writes p in its safe form. The count is of p's bytes, those held included. An
// error of the underlying writer is returned, and again by every later call, since nobody knows
// how much of the last escape has come out.
func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) && w.err == nil {
		piece := p[n:min(n+pieceSize, len(p))]
		w.in = append(w.in, piece...)
		safe, held := appendSafe(w.out[:0], w.in, stream)
		w.in = append(w.in[:0], held...)
		if w.emit(safe) == nil {
			n += len(piece)
		}
	}
	return n, w.err
}

// Held returns how many bytes wait for the rest of their character, 0 to 3: whether there
// is something to set a timer for.
func (w *Writer) Held() int { return len(w.in) }

// Flush writes the bytes that are held as \xNN: at the end of the stream, or when their
// rest is too long in coming.
func (w *Writer) Flush() error {
	if w.err == nil {
		safe := appendBytes(w.out[:0], w.in)
		w.in = w.in[:0]
		_ = w.emit(safe) // kept in w.err
	}
	return w.err
}

// emit writes safe and keeps its memory for the next time.
func (w *Writer) emit(safe []byte) error {
	w.out = safe
	if len(safe) == 0 {
		return nil
	}
	n, err := w.w.Write(safe)
	if err == nil && n < len(safe) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}
