package talk

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// An inputError is a failure to read the input.
type inputError struct{ err error }

func (e *inputError) Error() string { return "read input: " + e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

// send passes the input on until its end, then says so to the peer.
func (s *stream) send() error {
	var in io.Reader = s.in
	switch {
	case s.Commands != nil:
		t := s.typed()
		defer t.close()
		in = t
	case s.CRLF:
		in = &crlfReader{in: in}
	}
	buf := make([]byte, 64<<10)
	var lines lineCounter
	for {
		n, err := in.Read(buf)
		if n > 0 {
			s.sent.mark(s.now())
			s.writing.Store(true)
			written, werr := s.conn.Write(buf[:n])
			s.writing.Store(false)
			s.sent.bytes.Add(int64(written))
			s.sent.messages.Store(lines.add(buf[:written]))
			if werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			s.finSent.Store(true)
			if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // fails on a dead connection only, which the receiver tells
			}
			return nil
		}
		if err != nil {
			return &inputError{err}
		}
	}
}

// receive prints what comes until the peer's FIN, for which it returns nil.
func (s *stream) receive() error {
	buf := make([]byte, 64<<10)
	var lines lineCounter
	for {
		n, err := s.conn.Read(buf)
		if n > 0 {
			s.heard.bytes.Add(int64(n))
			s.heard.messages.Store(lines.add(buf[:n]))
			if err := s.print(buf[:n], false); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := s.flush(); err != nil {
				return err
			}
			continue
		case errors.Is(err, io.EOF):
			return s.flush()
		}
		if ferr := s.flush(); ferr != nil {
			return ferr
		}
		return err
	}
}

// A lineCounter counts lines across reads, the last one though unfinished.
type lineCounter struct {
	whole    int64
	unclosed bool
}

func (l *lineCounter) add(data []byte) int64 {
	if len(data) > 0 {
		l.whole += int64(bytes.Count(data, []byte{'\n'}))
		l.unclosed = data[len(data)-1] != '\n'
	}
	if l.unclosed {
		return l.whole + 1
	}
	return l.whole
}
