package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sonde/internal/safetext"
	"sonde/internal/sock"
)

const (
	historyLines = 1000    // that are kept
	historySize  = 8 << 20 // of a file that is one
)

// A history is what was typed on terminals, here and in sessions before: golang.org/x/term's History, in a file. What
// a peer said never gets there. A line that begins with a space is not remembered, so that a
// password need not be.
//
// Sessions share the file: each adds its lines to the end, under a lock, and shortens the file when it begins and ends. Whatever
// fails is told once, and then the history is that of the session alone.
type history struct {
	path  string
	note  func(text string)
	lines []string // the last is the latest
}

// historyFile is where the history is (XDG Base Directory Specification, state), or empty where nobody has a home.
func historyFile() string {
	state := os.Getenv("XDG_STATE_HOME")
	if runtime.GOOS == "windows" && state == "" {
		state = os.Getenv("LocalAppData")
	}
	if !filepath.IsAbs(state) { // which the specification wants ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "sonde", "history")
}

// openHistory reads the history at path.
func openHistory(path string, note func(text string)) *history {
	h := &history{path: path, note: note}
	if path == "" {
		return h
	}
	h.failed(os.MkdirAll(filepath.Dir(path), 0o700))
	h.lines = h.shorten()
	return h
}

// Add remembers a line, but for one that repeats the last, or ends the session.
func (h *history) Add(line string) {
	if line == "" || line == lastWord || line[0] == ' ' || line == h.At(0) || !isHistory(line) {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > historyLines {
		h.lines = slices.Delete(h.lines, 0, 1)
	}
	h.locked(func() error {
		f, err := os.OpenFile(h.path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(line + "\n")
		return errors.Join(err, f.Close())
	})
}

// Len is how many lines are remembered.
func (h *history) Len() int { return len(h.lines) }

// At returns the i-th line before the next, counted from zero, or nothing where there is none.
func (h *history) At(i int) string {
	if i < 0 || i >= len(h.lines) {
		return ""
	}
	return h.lines[len(h.lines)-1-i]
}

// close leaves the file no longer than it may be.
func (h *history) close() { h.shorten() }

// shorten cuts the file to its last lines, and returns them.
func (h *history) shorten() (lines []string) {
	h.locked(func() error {
		text, err := readHistory(h.path)
		if err != nil {
			return err
		}
		var whole bool
		if lines, whole = lastLines(text); whole {
			return nil
		}
		return replaceFile(h.path, []byte(strings.Join(lines, "\n")+"\n"))
	})
	return lines
}

func readHistory(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no plain file")
	case info.Size() > historySize:
		return nil, fmt.Errorf("it has %d bytes, and cannot be a history", info.Size())
	}
	return os.ReadFile(path)
}

// lastLines returns the last lines that can have been typed, and whether they are all there is.
func lastLines(text []byte) (lines []string, all bool) {
	all = true
	for line := range bytes.Lines(text) {
		line := string(bytes.TrimSuffix(line, []byte{'\n'}))
		if !isHistory(line) {
			all = false
			continue
		}
		lines = append(lines, line)
	}
	if len(lines) > historyLines {
		return lines[len(lines)-historyLines:], false
	}
	return lines, all
}

// isHistory reports whether a line can be shown as it is: a file is no place for what moves the cursor.
func isHistory(line string) bool {
	plain := strings.ReplaceAll(strings.ReplaceAll(line, `\`, ""), "\t", "")
	return line != "" && utf8.ValidString(line) && safetext.String(plain) == plain
}

// replaceFile puts a file of that text in the place of another, at once.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".history-") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// locked does something with the file while no other session does. The lock is a file of its own, because the other may be replaced.
func (h *history) locked(do func() error) {
	if h.path == "" {
		return
	}
	lock, err := os.OpenFile(h.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		defer lock.Close()
		err = awaitLock(lock)
	}
	if err == nil {
		err = do()
	}
	h.failed(err)
}

// awaitLock waits for another session to add its line, which takes no time to speak of.
func awaitLock(f *os.File) error {
	for try := 0; ; try++ {
		err := sock.Lock(f)
		if !errors.Is(err, sock.ErrLocked) || try == 100 {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// failed gives the file up.
func (h *history) failed(err error) {
	if err == nil || h.path == "" {
		return
	}
	if h.note != nil {
		h.note(fmt.Sprintf("what is typed is not remembered: %s: %v (--no-history does without)", h.path, pathless(err)))
	}
	h.path = ""
}

// pathless leaves the path out of an error that names it.
func pathless(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
