package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A screen is what a terminal of some width shows of what is written to it: the characters, line feeds and the sequences
// of ECMA-48 that the editor uses. It has no bottom, and knows characters of one column only.
type screen struct {
	testing.TB
	width    int
	rows     [][]rune
	row, col int
	pending  bool // the last column is filled, and the next character goes to the next row (DEC's auto-wrap)
	rest     string
}

func (s *screen) Write(p []byte) (int, error) {
	s.rest += string(p)
	for s.rest != "" {
		if s.rest[0] == 0x1b {
			if !s.escape() {
				break
			}
			continue
		}
		r := []rune(s.rest)[0]
		s.rest = s.rest[len(string(r)):]
		s.show(r)
	}
	return len(p), nil
}

func (s *screen) show(r rune) {
	switch r {
	case '\r':
		s.col, s.pending = 0, false
		return
	case '\n':
		s.row++
		s.pending = false
		return
	}
	if s.pending {
		s.row, s.col, s.pending = s.row+1, 0, false
	}
	s.at(s.row, s.col)
	s.rows[s.row][s.col] = r
	if s.col == s.width-1 {
		s.pending = true
	} else {
		s.col++
	}
}

// at makes the screen large enough.
func (s *screen) at(row, col int) {
	for len(s.rows) <= row {
		s.rows = append(s.rows, nil)
	}
	for len(s.rows[row]) <= col {
		s.rows[row] = append(s.rows[row], ' ')
	}
}

// escape obeys a sequence, if it is whole.
func (s *screen) escape() bool {
	end := strings.IndexAny(s.rest, "ABCDJKhl")
	if end < 0 {
		return false
	}
	sequence := s.rest[:end+1]
	s.rest = s.rest[end+1:]
	if !strings.HasPrefix(sequence, "\x1b[") {
		s.Fatalf("the editor wrote %q", sequence)
	}
	if strings.HasPrefix(sequence, "\x1b[?2004") {
		return true
	}
	n, err := strconv.Atoi(sequence[2:end])
	if err != nil {
		n = 1
	}
	s.pending = false
	switch sequence[end] {
	case 'A':
		s.row = max(0, s.row-n)
	case 'B':
		s.row += n
	case 'C':
		s.col = min(s.width-1, s.col+n)
	case 'D':
		s.col = max(0, s.col-n)
	case 'K':
		s.at(s.row, 0)
		s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
	case 'J':
		s.at(s.row, 0)
		s.rows = s.rows[:s.row+1]
		s.rows[s.row] = s.rows[s.row][:min(s.col, len(s.rows[s.row]))]
	default:
		s.Fatalf("the editor wrote %q", sequence)
	}
	return true
}

// lines are the rows as they are read, trailing blanks and empty rows at the end left out.
func (s *screen) lines() (lines []string) {
	for _, row := range s.rows {
		lines = append(lines, strings.TrimRight(string(row), " "))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// wrapped is how a line fills rows of that width.
func wrapped(line string, width int) (rows []string) {
	for len(line) > width {
		rows, line = append(rows, strings.TrimRight(line[:width], " ")), line[width:]
	}
	return append(rows, strings.TrimRight(line, " "))
}

// Whatever is typed and edited while lines come, long ones on both sides: at any time the screen shows
// every line that came, whole and in order, and under them the line being typed.
// The draw is wide enough for the cursor to be moved up into a line of several rows.
func TestIncomingNeverGarblesTheLineBeingTyped(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		width := rapid.IntRange(8, 30).Draw(rt, "width")
		s := &screen{TB: t, width: width}
		keys, keyboard := io.Pipe()
		term := typed(keys, s)
		_ = term.editor.SetSize(width, 24)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.ReadAll(term)
		}()
		m := &typing{width: width}
		rapidSteps(rt, m, term, keyboard)
		_ = keyboard.Close()
		<-done
		if got, want := strings.Join(s.lines(), "\n"), strings.Join(m.want(), "\n"); got != want {
			rt.Fatalf("after %s the screen is\n%s\nwant\n%s", m.log, got, want)
		}
	})
}

// typing is what there is to be seen.
type typing struct {
	width int
	above []string
	line  string
	at    int // where the cursor is in line
	log   []string
}

func (m *typing) want() []string {
	return append(m.above, wrapped(prompt+m.line, m.width)...)
}

// rapidSteps types, moves, deletes and lets lines come, in any order.
func rapidSteps(rt *rapid.T, m *typing, term *terminal, keyboard io.Writer) {
	press := func(keys string) {
		m.log = append(m.log, fmt.Sprintf("%q", keys))
		_, _ = io.WriteString(keyboard, keys)
	}
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		switch rapid.IntRange(0, 5).Draw(rt, "step") {
		case 0, 1:
			text := rapid.StringMatching(`[a-z]{1,12}`).Draw(rt, "typed")
			press(text)
			m.line = m.line[:m.at] + text + m.line[m.at:]
			m.at += len(text)
		case 2:
			for range min(m.at, rapid.IntRange(1, 20).Draw(rt, "left")) {
				press("\x1b[D")
				m.at--
			}
		case 3:
			if m.at > 0 {
				press("\x7f")
				m.line = m.line[:m.at-1] + m.line[m.at:]
				m.at--
			}
		default:
			text := rapid.StringMatching(`[A-Z]{0,50}`).Draw(rt, "came")
			m.log = append(m.log, "came "+text)
			_, _ = keyboard.Write(nil) // taken: what was typed before is on the screen
			_, _ = term.Write([]byte("< " + text + "\n"))
			m.above = append(m.above, wrapped("< "+text, m.width)...)
		}
	}
}
