package talk

import (
	"fmt"
	"time"
)

// String says in one line who ended the conversation and how, what went each way, and
// how long it took.
func (s Summary) String() string {
	line := fmt.Sprintf("%s; sent %s, received %s in %v", s.How, s.Sent.text(s.unit), s.Received.text(s.unit), roundTime(s.Elapsed))
	if s.Refusals > 1 || s.Refusals == 1 && s.Received.Messages > 0 {
		line += fmt.Sprintf("; refused %d times", s.Refusals)
	}
	return line
}

func (c Count) text(unit string) string {
	text := plural(c.Bytes, "byte") + " in " + plural(c.Messages, unit)
	if c.Empty > 0 {
		text += fmt.Sprintf(" (%d empty)", c.Empty)
	}
	if c.Truncated > 0 {
		text += fmt.Sprintf(" (%d truncated)", c.Truncated)
	}
	return text
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// roundTime leaves what a person reads: 1.234s, 12.3ms, 783µs.
func roundTime(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(time.Millisecond / 10)
	}
	return d.Round(time.Microsecond)
}
