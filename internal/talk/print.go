package talk

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"sonde/internal/safetext"
)

// A Reply is something the peer said: a datagram, or what one read of a stream brought.
type Reply struct {
	Data      []byte // valid only while it is printed
	Time      time.Time
	After     time.Duration // since something was last sent; less than zero when nothing was
	Truncated bool          // a datagram whose end was lost
}

// A Printer takes what the peer says. It is called from one goroutine at a time.
type Printer interface {
	// Print writes a reply, and reports whether it holds back the beginning of a
	// character whose rest may still come.
	Print(r Reply) (held bool, err error)

	// Flush writes what is held back: the rest does not come.
	Flush() error
}

// Exact writes the peer's bytes as they are.
type Exact struct{ W io.Writer }

// Print writes r's bytes.
func (e Exact) Print(r Reply) (bool, error) {
	if len(r.Data) == 0 {
		return false, nil
	}
	_, err := e.W.Write(r.Data)
	return false, err
}

// Flush does nothing.
func (Exact) Flush() error { return nil }

// Escaped writes the peer's bytes as they are but for what a terminal would obey, in
// the stream form of package safetext.
type Escaped struct {
	w         *safetext.Writer
	datagrams bool
}

// NewEscaped returns an Escaped that writes to w. With datagrams, a reply's end is that of
// its characters too.
func NewEscaped(w io.Writer, datagrams bool) *Escaped {
	return &Escaped{w: safetext.NewWriter(w), datagrams: datagrams}
}

// Print writes r.
func (e *Escaped) Print(r Reply) (held bool, err error) {
	if _, err = e.w.Write(r.Data); err == nil && e.datagrams {
		err = e.w.Flush()
	}
	return e.w.Held() > 0, err
}

// Flush writes the bytes of a character whose rest did not come.
func (e *Escaped) Flush() error { return e.w.Flush() }

// A Chat writes for a person who types meanwhile: whole lines, each reply with the time
// it came and how long after the last line sent. What the peer said stands behind "<",
// what sonde says of it behind "*", so that no peer can speak for it.
//
// ToggleHex may be called at any time.
type Chat struct {
	w         io.Writer
	plain     Form // when hex is off
	datagrams bool

	mu   sync.Mutex
	form Form
	text bytes.Buffer
	safe *Escaped // into text
	dump Dump     // into text
	last Reply    // its time, for what is flushed
}

// Form is how a Chat shows the peer's bytes.
type Form uint8

// The forms.
const (
	Safe Form = iota // escaped
	Raw              // as they are
	Hex              // in hexadecimal
)

// NewChat returns a Chat that writes to w.
func NewChat(w io.Writer, form Form, datagrams bool) *Chat {
	c := &Chat{w: w, plain: form, form: form, datagrams: datagrams}
	if form == Hex {
		c.plain = Safe
	}
	c.safe = NewEscaped(&c.text, datagrams)
	c.dump = Dump{W: &c.text, Datagrams: datagrams}
	return c
}

// Print writes r in one Write.
func (c *Chat) Print(r Reply) (held bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = Reply{Time: r.Time, After: r.After}
	switch c.form {
	case Hex:
		_, _ = c.dump.Print(r) // into memory
	case Raw:
		c.text.Write(r.Data)
	default:
		held, _ = c.safe.Print(r) // into memory
	}
	if c.form != Hex {
		c.dump.skip(len(r.Data))
	}
	out := c.lines(nil)
	switch {
	case len(r.Data) == 0:
		out = c.remark(out, "an empty datagram")
	case r.Truncated:
		out = c.remark(out, "the datagram was longer: its end is lost")
	}
	return held, c.write(out)
}

// Flush writes the bytes of a character whose rest did not come.
func (c *Chat) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.safe.Flush() // into memory
	return c.write(c.lines(nil))
}

// ToggleHex turns hexadecimal on, or off again, and reports whether it is on now. Offsets go on counting either way.
func (c *Chat) ToggleHex() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.form == Hex {
		c.form = c.plain
		return false
	}
	_ = c.safe.Flush()        // into memory: half a character has no place among bytes
	_ = c.write(c.lines(nil)) // fails when the terminal is gone, which the next Print tells
	c.form = Hex
	return true
}

func (c *Chat) write(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	_, err := c.w.Write(out)
	return err
}

// lines takes the text and puts the time before each line.
func (c *Chat) lines(dst []byte) []byte {
	stamp := stampOf(c.last)
	for line := range bytes.Lines(c.text.Bytes()) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		dst = fmt.Appendf(dst, "%s < %s\n", stamp, line)
	}
	c.text.Reset()
	return dst
}

func (c *Chat) remark(dst []byte, text string) []byte {
	return fmt.Appendf(dst, "%s * %s\n", stampOf(c.last), text)
}

// stampOf is the time a reply came and, in milliseconds or seconds, how long after the
// last line sent.
func stampOf(r Reply) string {
	clock := r.Time.Format("15:04:05.000")
	switch {
	case r.After < 0:
		return fmt.Sprintf("%s %9s", clock, "")
	case r.After < 10*time.Second:
		return fmt.Sprintf("%s %+7.1fms", clock, float64(r.After)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%s %+8.1fs", clock, r.After.Seconds())
}
