package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noted is what a history tells.
type noted []string

func (n *noted) add(text string) { *n = append(*n, text) }

func openTestHistory(t *testing.T, path string) *history {
	t.Helper()
	return openHistory(path, func(text string) { t.Errorf("it notes: %s", text) })
}

func all(h *history) (lines []string) {
	for i := range h.Len() {
		lines = append(lines, h.At(i))
	}
	return lines
}

func TestHistoryIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "history")
	h := openTestHistory(t, path)
	for _, line := range []string{"one", "two", "two", "", " secret", "/send \\x00", "tab\there", "evil\x1b[2J", "grüße €", "two"} {
		h.Add(line)
	}
	h.close()
	want := []string{"two", "grüße €", "tab\there", `/send \x00`, "two", "one"} // the latest first
	if diff := cmp.Diff(want, all(openTestHistory(t, path))); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if got := h.At(99) + h.At(-1); got != "" {
		t.Errorf("beyond it is %q", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	var text strings.Builder
	for i := range historyLines + 10 {
		fmt.Fprintln(&text, "line", i)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h := openTestHistory(t, path)
	for i := range 5 {
		h.Add(fmt.Sprint("more ", i))
	}
	h.close()
	again := openTestHistory(t, path)
	if again.Len() != historyLines || again.At(0) != "more 4" || again.At(historyLines-1) != "line 15" || h.Len() != historyLines {
		t.Errorf("%d lines from %q to %q", again.Len(), again.At(historyLines-1), again.At(0))
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != historyLines {
		t.Errorf("the file has %d lines, %v", strings.Count(string(text), "\n"), err)
	}
}

// Sessions at once lose none of each other's lines, though each shortens the file.
func TestHistoriesDoNotDestroyEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	const sessions, lines = 4, 40
	var group sync.WaitGroup
	for s := range sessions {
		group.Go(func() {
			for i := range lines {
				h := openTestHistory(t, path)
				h.Add(fmt.Sprintf("session %d line %d", s, i))
				h.close()
			}
		})
	}
	group.Wait()
	has := map[string]bool{}
	for _, line := range all(openTestHistory(t, path)) {
		has[line] = true
	}
	if len(has) != sessions*lines {
		t.Errorf("%d lines of %d", len(has), sessions*lines)
	}
}

// A file that cannot be used is told once, and what is typed is remembered without it.
func TestHistoryWithoutAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, make([]byte, historySize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                            dir + ": it is no plain file",
		filepath.Join(file, "history"): filepath.Join(file, "history") + ": not a directory",
		huge:                           fmt.Sprintf("%s: it has %d bytes, and cannot be a history", huge, historySize+1),
		"":                             "",
	} {
		if runtime.GOOS == "windows" && strings.Contains(want, "not a directory") {
			continue
		}
		var notes noted
		h := openHistory(path, notes.add)
		h.Add("one")
		h.Add("two")
		h.close()
		if h.Len() != 2 || h.At(0) != "two" {
			t.Errorf("%s: %q", path, all(h))
		}
		if want == "" && len(notes) == 0 {
			continue
		}
		if len(notes) != 1 || notes[0] != "what is typed is not remembered: "+want+" (--no-history does without)" {
			t.Errorf("%s: it notes %q", path, notes)
		}
	}
}

// Whatever is in the file, what comes out of it can be shown on a terminal.
func FuzzHistory(f *testing.F) {
	f.Add([]byte("one\ntwo\n"))
	f.Add([]byte("\x1b[2J\n\xff\n\n\u202e\nlast"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, whole := lastLines(text)
		if len(lines) > historyLines {
			t.Fatalf("%d lines", len(lines))
		}
		for _, line := range lines {
			if line == "" || !isHistory(line) || strings.ContainsAny(line, "\x1b\r\n\x7f\x00") {
				t.Fatalf("%q", line)
			}
		}
		if back := strings.Join(lines, "\n"); whole && back != strings.TrimSuffix(string(text), "\n") {
			t.Fatalf("%q became %q", text, back)
		}
	})
}

func TestHistoryFile(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	if got := historyFile(); got != filepath.Join(state, "sonde", "history") {
		t.Error(got)
	}
	if runtime.GOOS == "windows" {
		return
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/ann")
	if got := historyFile(); got != "/home/ann/.local/state/sonde/history" {
		t.Error(got)
	}
	t.Setenv("HOME", "")
	if got := historyFile(); got != "" {
		t.Error(got)
	}
}
