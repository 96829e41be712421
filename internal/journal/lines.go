package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Each line is a JSON object that begins with its kind and ends with its checksum:
//
//	{"type":"span","lo":0,"hi":65536,"crc":"3c1af0e2"}
//
// The checksum is the CRC-32 (IEEE 802.3) of all lines up to this one, each without its own checksum and what follows it.

// The kinds of lines.
const (
	kindHeader   = "journal"
	kindStage    = "stage"
	kindSpan     = "span"
	kindResult   = "result"
	kindMark     = "mark"
	kindSpanEnd  = "span-end"
	kindStageEnd = "stage-end"
	kindEnd      = "end"
)

const (
	typeMark = `{"type":"`
	crcMark  = `,"crc":"`
	crcLen   = len(crcMark) + 8 + len("\"}\n")
)

// A position is between two lines.
type position struct {
	offset int64
	lines  int    // before it
	sum    uint32 // the checksum of those
}

// seal ends the line that begins at start of b, a JSON object whose brace is not closed yet, and
// returns the checksum for the next.
func seal(b []byte, start int, sum uint32) ([]byte, uint32) {
	sum = crc32.Update(sum, crc32.IEEETable, b[start:])
	return appendSum(b, sum), sum
}

func appendSum(b []byte, sum uint32) []byte {
	b = append(b, crcMark...)
	b = appendHex(b, sum)
	return append(b, "\"}\n"...)
}

func appendHex(b []byte, sum uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, digits[sum>>shift&15])
	}
	return b
}

// What can be wrong with a line.
var (
	errTorn     = errors.New("it has no end")
	errChecksum = errors.New("its checksum does not fit: something was changed here, or is missing before it")
	errForm     = errors.New("it is not what a journal has there")
)

// A reader reads lines, and checks them.
type reader struct {
	position // behind the line that was read last
	r        *bufio.Reader
	long     []byte
}

func newReader(r io.ReaderAt, from position, to int64) *reader {
	return &reader{position: from, r: bufio.NewReaderSize(io.NewSectionReader(r, from.offset, to-from.offset), 1<<16)}
}

// next returns the kind of the next line, and the line as an object without its checksum, which is good until next is
// called again. It returns io.EOF at the end, and errTorn for a line without one.
func (r *reader) next() (kind string, object []byte, err error) {
	line, err := r.readLine()
	if err != nil {
		return "", line, err
	}
	n := len(line) - crcLen
	if n < 0 {
		return "", line, errChecksum
	}
	sum := crc32.Update(r.sum, crc32.IEEETable, line[:n])
	var own [crcLen]byte
	if string(appendSum(own[:0], sum)) != string(line[n:]) {
		return "", line, errChecksum
	}
	r.position = position{r.offset + int64(len(line)), r.lines + 1, sum}
	line[n] = '}'
	kind, err = kindOf(line[:n+1])
	return kind, line[:n+1], err
}

// readLine returns a line with its end. It is copied only if it is longer than the buffer.
func (r *reader) readLine() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = r.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			r.long = append(r.long, line...)
			line, err = r.r.ReadSlice('\n')
		}
		r.long = append(r.long, line...)
		line = r.long
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = errTorn
	}
	return line, err
}

func kindOf(object []byte) (string, error) {
	rest, ok := bytes.CutPrefix(object, []byte(typeMark))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return "", errForm
	}
	for _, kind := range [...]string{kindResult, kindMark, kindSpan, kindStage, kindSpanEnd, kindStageEnd, kindEnd, kindHeader} {
		if string(rest[:end]) == kind {
			return kind, nil
		}
	}
	return "", unknown("a line of the kind %q", rest[:end])
}

// unknown says that a line whose checksum fits has something in it that this version does not write.
func unknown(what string, args ...any) error {
	return fmt.Errorf("%w: it has %s", ErrNewer, fmt.Sprintf(what, args...))
}

// decode reads an object into v, and nothing that v has no place for.
func decode(object []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err != nil && json.Unmarshal(object, v) == nil {
		kind, _ := kindOf(object)
		return unknown("%s in a line of the kind %q", strings.TrimPrefix(err.Error(), "json: "), kind)
	}
	return err
}

// appendObject appends v as a JSON object whose brace is not closed.
func appendObject(b []byte, v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return b, err
	}
	return append(b, bytes.TrimSuffix(text.Bytes(), []byte("}\n"))...), nil
}

func appendString(b []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	text, _ := json.Marshal(s) // of a string: it cannot fail
	return append(b, text...)
}
