package report

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sonde/internal/safetext"
)

// Plural counts things whose name takes an s: 1 port, 1,000 ports.
func Plural(n uint64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return commas(n) + " " + word + "s"
}

// commas writes a number in groups of three digits.
func commas(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// about writes a number that is an estimate: with one decimal where it is small.
func about(x float64) string {
	if x >= 10 {
		return commas(uint64(x + 0.5))
	}
	if x > 0 && x < 0.05 {
		return "less than 0.1"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0")
}

func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func roundTrip(d time.Duration) string {
	switch ms := d.Seconds() * 1000; {
	case d == 0:
		return ""
	case ms < 10:
		return fmt.Sprintf("%.2f ms", max(ms, 0.01))
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

// bannerText returns what a service said as safe text, without the end of its last line.
func bannerText(reply []byte) string {
	return string(safetext.Append(nil, bytes.TrimRight(reply, "\r\n")))
}

// bannerWidth is how much of a banner a table shows.
const bannerWidth = 72

// firstLine returns the first line of what a service said as safe text, cut to bannerWidth. Of what
// is not text there is only the length to be told.
func firstLine(reply []byte) string {
	reply = bytes.TrimSpace(reply)
	if len(reply) == 0 {
		return ""
	}
	if !isText(reply) {
		return fmt.Sprintf("(%s)", Plural(uint64(len(reply)), "byte"))
	}
	line, rest := reply, false
	if end := bytes.IndexAny(reply, "\r\n"); end >= 0 {
		line, rest = reply[:end], true
	}
	text := []rune(string(safetext.Append(nil, line)))
	if len(text) > bannerWidth {
		text, rest = text[:bannerWidth], true
	}
	if rest {
		return string(text) + " …"
	}
	return string(text)
}

// isText reports whether bytes are for people to read: most of them are characters that show.
func isText(b []byte) bool {
	shown, n := 0, 0
	for i := 0; i < len(b); n++ {
		r, size := utf8.DecodeRune(b[i:])
		if r >= ' ' && r != 0x7f && r != utf8.RuneError || r == '\n' || r == '\r' || r == '\t' {
			shown++
		}
		i += size
	}
	return 4*shown > 3*n
}
