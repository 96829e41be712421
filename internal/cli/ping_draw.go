package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"sonde/internal/measure"
)

// pingTime has three digits, and a unit for whoever reads them.
func pingTime(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + " µs"
	case d < time.Second:
		return digits(float64(d)/1e6) + " ms"
	case d < 100*time.Second:
		return digits(d.Seconds()) + " s"
	}
	return d.Round(time.Second).String()
}

// digits writes a number below 1000 with three digits.
func digits(f float64) string {
	switch {
	case f < 9.995:
		return fmt.Sprintf("%.2f", f)
	case f < 99.95:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// outputWidth is the terminal's, or 80.
func outputWidth(p *pinger) int {
	if width, _, err := term.GetSize(int(p.out.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

var bars = []rune(" ▏▎▍▌▋▊▉█")

// drawHistogram draws how many fell between which times, one line for each step.
func drawHistogram(w io.Writer, d *measure.Distribution, width int) {
	buckets := d.Buckets()
	most := uint64(0)
	for _, b := range buckets {
		most = max(most, b.N)
	}
	wide := len(fmt.Sprint(most))
	room := max(width-len("500 µs – 500 µs  ")-wide-2, 8)
	for _, b := range buckets {
		fmt.Fprintf(w, "%6s – %-6s %*d %s\n", roundTime(b.From), roundTime(b.To), wide, b.N, bar(float64(b.N)/float64(most), room))
	}
}

// roundTime is a step of a histogram: 500 µs.
func roundTime(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= unit.of {
			return fmt.Sprintf("%d %s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%d ns", d)
}

// bar is a share of room columns, to an eighth: nothing only if it is nothing.
func bar(share float64, room int) string {
	eighths := int(share*float64(room)*8 + 0.5)
	if share > 0 {
		eighths = max(eighths, 1)
	}
	s := strings.Repeat(string(bars[8]), eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string(bars[rest])
	}
	return s
}
