// Command curve draws which share of the open ports is found at which rate: it reads the rows of bench's BenchmarkCurve from
// standard input and writes an SVG to standard output.
package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	curves, err := read(os.Stdin)
	if err == nil {
		_, err = io.WriteString(os.Stdout, draw(curves))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "curve:", err)
		os.Exit(1)
	}
}

// A curve is the points of one tool, by rate.
type curve struct {
	tool   string
	points []point
}

type point struct{ rate, found float64 } // SYNs a second; 0 to 1

// read reads rows of tool, rate asked for, rate sent and share found, under a line of their names.
func read(in io.Reader) (curves []curve, err error) {
	rows, err := csv.NewReader(in).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	for _, row := range rows[min(1, len(rows)):] {
		if len(row) != 4 {
			return nil, fmt.Errorf("row %v has not four fields", row)
		}
		rate, err := strconv.ParseFloat(row[2], 64)
		if err != nil || rate <= 0 {
			return nil, fmt.Errorf("rate %q of %s", row[2], row[0])
		}
		found, err := strconv.ParseFloat(row[3], 64)
		if err != nil || found < 0 || found > 1 {
			return nil, fmt.Errorf("share %q of %s", row[3], row[0])
		}
		i := slices.IndexFunc(curves, func(c curve) bool { return c.tool == row[0] })
		if i < 0 {
			i = len(curves)
			curves = append(curves, curve{tool: row[0]})
		}
		curves[i].points = append(curves[i].points, point{rate, found})
	}
	if len(curves) == 0 {
		return nil, fmt.Errorf("no rows")
	}
	for _, c := range curves {
		slices.SortFunc(c.points, func(a, b point) int { return int(math.Copysign(1, a.rate-b.rate)) })
	}
	return curves, nil
}

// The picture, in pixels.
const (
	width, height            = 820, 440
	left, right, top, bottom = 64, 24, 84, 56
	from, to                 = 1e4, 1e7 // SYNs a second, at the edges
)

// A look tells one curve from the others, in grey too. Colours are those of Okabe and Ito (2008).
type look struct{ colour, dash, mark string }

var looks = map[string]look{
	"masscan": {"#d55e00", "7 4", "m-4 4 4-8 4 8z"},
	"zmap":    {"#0072b2", "2 3", "m-4-4h8v8h-8z"},
	"raw":     {"#009e73", "", "m-5 0 5-5 5 5-5 5z"},
	"xdp":     {"#000000", "", "m-4 0a4 4 0 1 0 8 0 4 4 0 1 0-8 0z"},
}

func (c curve) name() string {
	if c.tool == "raw" || c.tool == "xdp" {
		return "sonde, " + c.tool
	}
	return c.tool
}

func (c curve) look() look {
	if l, ok := looks[c.tool]; ok {
		return l
	}
	return look{"#cc79a7", "", "m-4-4 8 8m0-8-8 8"}
}

// draw returns the picture.
func draw(curves []curve) string {
	least := 1.0
	for _, c := range curves {
		for _, p := range c.points {
			least = min(least, p.found)
		}
	}
	a := axes{math.Floor(min(least, 0.9)*10) / 10}
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222">`+"\n", width, height)
	fmt.Fprintf(&svg, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&svg, `<text x="%d" y="24" font-size="16" font-weight="bold">Open ports found, by rate of sending</text>`+"\n", left)
	a.draw(&svg)
	for i, c := range slices.Backward(curves) { // the last, which goes farthest, lies undermost
		a.legend(&svg, c, i)
		a.curve(&svg, c)
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

// axes place a point: the rate on a logarithmic scale, the share from a least one to all.
type axes struct{ least float64 }

func (axes) x(rate float64) float64 {
	return left + (width-left-right)*math.Log(min(max(rate, from), to)/from)/math.Log(to/from)
}

func (a axes) y(found float64) float64 {
	return top + (height-top-bottom)*(1-found)/(1-a.least)
}

// draw draws the grid and what its lines stand for.
func (a axes) draw(w io.Writer) {
	for share := 1.0; share > a.least-0.01; share -= 0.1 {
		fmt.Fprintf(w, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f %%</text>`+"\n",
			left, a.y(share), width-right, left-8, a.y(share)+4, 100*share)
	}
	for decade := from; decade <= to; decade *= 10 {
		for _, n := range []float64{1, 2, 5} {
			if rate := n * decade; rate <= to {
				fmt.Fprintf(w, `<path d="M%.1f %dV%d" stroke="#eee"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
					a.x(rate), top, height-bottom, a.x(rate), height-bottom+20, short(rate))
			}
		}
	}
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="middle">SYNs a second, as the far end counts them</text>`+"\n", (left+width-right)/2, height-12)
}

// short is a rate in few letters: 20 k, 1.5 M.
func short(rate float64) string {
	switch {
	case rate >= 1e6:
		return strconv.FormatFloat(rate/1e6, 'f', -1, 64) + " M"
	case rate >= 1e3:
		return strconv.FormatFloat(rate/1e3, 'f', -1, 64) + " k"
	}
	return strconv.FormatFloat(rate, 'f', -1, 64)
}

// curve draws the line of a tool, and a mark at each measure.
func (a axes) curve(w io.Writer, c curve) {
	l := c.look()
	var line strings.Builder
	for i, p := range c.points {
		fmt.Fprintf(&line, "%c%.1f %.1f", "ML"[min(i, 1)], a.x(p.rate), a.y(p.found))
	}
	fmt.Fprintf(w, `<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", line.String(), l.colour, l.dash)
	for _, p := range c.points {
		fmt.Fprintf(w, `<path d="M%.1f %.1f%s" fill="%s" stroke="%s"/>`+"\n", a.x(p.rate), a.y(p.found), l.mark, l.colour, l.colour)
	}
}

// legend says which tool a line is, and how far it goes.
func (a axes) legend(w io.Writer, c curve, i int) {
	const column = 184
	l, last := c.look(), c.points[len(c.points)-1]
	x := left + i%4*column
	y := 48 + i/4*18
	fmt.Fprintf(w, `<path d="M%d %dh28" stroke="%s" stroke-width="2" stroke-dasharray="%s"/><path d="M%d %d%s" fill="%s" stroke="%s"/>`,
		x, y, l.colour, l.dash, x+14, y, l.mark, l.colour, l.colour)
	fmt.Fprintf(w, `<text x="%d" y="%d">%s</text>`, x+36, y+4, c.name())
	fmt.Fprintf(w, `<text x="%d" y="%d" fill="#666" font-size="11">%s/s at the most: %.1f %%</text>`+"\n", x+36, y+19, short(round(last.rate)), 100*last.found)
}

// round leaves a rate two digits.
func round(rate float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(rate))-1)
	return math.Round(rate/unit) * unit
}
