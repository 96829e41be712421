package talk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A TooLongError refuses input that does not fit one datagram. None of it was sent.
type TooLongError struct {
	Line int // the line, counted from 1; zero for the whole input
	Max  int // bytes that would fit, the line feed included
}

// Error names the line and the limit.
func (e *TooLongError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("the input is longer than the %d bytes that fit one datagram", e.Max)
	}
	return fmt.Sprintf("line %d is longer than the %d bytes that fit one datagram", e.Line, e.Max)
}

// A cutter cuts the input into datagrams.
type cutter struct {
	in   *bufio.Reader
	max  int
	line int
}

func newCutter(in io.Reader, limit int, crlf bool) *cutter {
	if crlf {
		in = &crlfReader{in: in}
	}
	// One byte more than fits, so that a full buffer is an over-long line.
	return &cutter{in: bufio.NewReaderSize(in, limit+1), max: limit}
}

// next returns the next line, its line feed included, until io.EOF. The bytes stay
// valid until the next call.
func (c *cutter) next() ([]byte, error) {
	c.line++
	line, err := c.in.ReadSlice('\n')
	switch {
	case len(line) > c.max || errors.Is(err, bufio.ErrBufferFull):
		return nil, &TooLongError{Line: c.line, Max: c.max}
	case errors.Is(err, io.EOF) && len(line) > 0:
		return line, nil
	case err != nil && !errors.Is(err, io.EOF):
		return nil, &inputError{err}
	}
	return line, err
}

// all returns the whole input, which may be empty.
func (c *cutter) all() ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(c.in, int64(c.max)+1))
	switch {
	case err != nil:
		return nil, &inputError{err}
	case len(data) > c.max:
		return nil, &TooLongError{Max: c.max}
	}
	return data, nil
}

// A crlfReader turns the line feeds of in to CR LF, but for those that are so already.
type crlfReader struct {
	in   io.Reader
	cr   bool   // the last byte was a CR
	rest []byte // turned, and not yet asked for
	err  error
	buf  []byte
}

func (r *crlfReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		r.fill(len(p))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *crlfReader) fill(size int) {
	raw := make([]byte, size)
	n, err := r.in.Read(raw)
	r.err = err
	r.buf = r.buf[:0]
	for raw = raw[:n]; len(raw) > 0; {
		end := bytes.IndexByte(raw, '\n')
		if end < 0 {
			r.buf = append(r.buf, raw...)
			r.cr = raw[len(raw)-1] == '\r'
			break
		}
		r.buf = append(r.buf, raw[:end]...)
		if end > 0 {
			r.cr = raw[end-1] == '\r'
		}
		if !r.cr {
			r.buf = append(r.buf, '\r')
		}
		r.buf = append(r.buf, '\n')
		r.cr = false
		raw = raw[end+1:]
	}
	r.rest = r.buf
}
