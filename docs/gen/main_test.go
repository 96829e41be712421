package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/cli"
)

// The pages in docs/man are those of the commands as they are, and there are no others.
func TestPagesAreUpToDate(t *testing.T) {
	fresh := pages(cli.Commands())
	for name, want := range fresh {
		got, err := os.ReadFile(filepath.Join("..", "man", name))
		if err != nil {
			t.Errorf("%v; run 'go generate ./docs/...'", err)
		} else if diff := cmp.Diff(string(got), string(want)); diff != "" {
			t.Errorf("docs/man/%s is out of date; run 'go generate ./docs/...':\n%s", name, diff)
		}
	}
	files, err := filepath.Glob("../man/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if fresh[filepath.Base(f)] == nil {
			t.Errorf("%s is the page of no command; remove it", f)
		}
	}
}

// A page says nothing of when it was made: two of the same commands are equal.
func TestPagesAreReproducible(t *testing.T) {
	again := pages(cli.Commands())
	for name, page := range pages(cli.Commands()) {
		if !bytes.Equal(page, again[name]) {
			t.Errorf("%s differs from run to run", name)
		}
	}
}

// Text that roff would obey means itself.
func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		".TH":        `\&.TH`,
		"'quoted'":   `\(aqquoted\(aq`,
		`GET /\r\n`:  `GET /\er\en`,
		"--all-good": `\-\-all\-good`,
	} {
		if got := escape(text); got != want {
			t.Errorf("escape(%q) = %q, want %q", text, got, want)
		}
	}
	if got, want := bold("with --udp: a low-level -4"), `with \fB\-\-udp\fR: a low\-level \fB\-4\fR`; got != want {
		t.Errorf("bold is %q, want %q", got, want)
	}
}
