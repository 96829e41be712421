package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sonde/internal/probe"
)

// A shape is what lines make up so far, and tells which may come next.
type shape struct {
	begun    bool // there is a header
	depth    int  // stages and spans that are not over: odd inside a stage, even inside a span of it
	verified bool // the span at hand was verified by a stage: it has no more results
	over     bool
}

// add takes the next line's kind, false if it cannot come here.
func (s *shape) add(kind string) bool {
	inStage := s.depth%2 == 1
	inSpan := s.depth > 0 && !inStage
	ok := s.begun && !s.over
	switch kind {
	case kindHeader:
		ok = !s.begun
		s.begun = true
	case kindStage:
		ok = ok && !inStage
		s.depth++
	case kindSpan:
		ok = ok && inStage
		s.depth, s.verified = s.depth+1, false
	case kindResult, kindMark:
		ok = ok && inSpan && !s.verified
	case kindSpanEnd:
		ok = ok && inSpan
		s.depth--
	case kindStageEnd:
		ok = ok && inStage
		s.depth, s.verified = s.depth-1, true
	case kindEnd:
		ok = ok && s.depth == 0
		s.over = true
	}
	return ok
}

// checked is what a journal turned out to be.
type checked struct {
	header     Header
	shape      shape
	first, end position // behind the header, and behind the last whole line
}

// check reads a journal from its beginning to its end.
func check(f io.ReaderAt, size int64, path string) (*checked, error) {
	if err := recognise(f, size, path); err != nil {
		return nil, err
	}
	c := &checked{}
	r := newReader(f, position{}, size)
	for {
		kind, object, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return c, nil
		case errors.Is(err, errTorn) && !c.shape.begun:
			return nil, fmt.Errorf("%s %w", path, ErrEmpty)
		case errors.Is(err, errTorn) && !c.shape.over:
			return c, nil
		case err == nil && !c.shape.add(kind):
			err = errForm
		case err == nil:
			err = c.read(kind, object)
		case !c.shape.begun:
			err = errors.Join(otherFormat(object), err)
		}
		if errors.Is(err, ErrNewer) {
			return nil, fmt.Errorf("%s %w", path, err)
		}
		if err != nil {
			return nil, &BrokenError{path, c.end.lines + 1, c.end.offset, err}
		}
		if c.end = r.position; kind == kindHeader {
			c.first = c.end
		}
	}
}

// recognise tells a journal by how it begins, before all of what may be something else is read.
func recognise(f io.ReaderAt, size int64, path string) error {
	sign := []byte(typeMark + kindHeader + `"`)
	start := make([]byte, min(size, int64(len(sign))))
	if _, err := f.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the journal %s: %w", path, err)
	}
	switch {
	case !bytes.HasPrefix(sign, start):
		return fmt.Errorf("%s %w", path, ErrNoJournal)
	case len(start) < len(sign):
		return fmt.Errorf("%s %w", path, ErrEmpty)
	}
	return nil
}

// read decodes a line, so that nothing can be wrong with it when it is needed.
func (c *checked) read(kind string, object []byte) error {
	switch kind {
	case kindHeader:
		if err := otherFormat(object); err != nil {
			return err
		}
		var line headerLine
		err := decode(object, &line)
		c.header = line.Header
		return err
	case kindStage:
		return decode(object, new(stageLine))
	case kindSpan:
		return decode(object, new(spanLine))
	case kindResult:
		var r probe.Result
		return parseResult(object, &r)
	case kindMark:
		return decode(object, new(markLine))
	}
	return decode(object, new(bareLine))
}

// otherFormat returns ErrNewer for a header, with whatever checksum, that says that it is of another format.
func otherFormat(object []byte) error {
	var line struct {
		Format  int    `json:"format"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(object, &line); err == nil && line.Format != format {
		return fmt.Errorf("%w: %s, in format %d, where this one knows format %d", ErrNewer, line.Version, line.Format, format)
	}
	return nil // what is wrong with it, if anything, is not its age
}
