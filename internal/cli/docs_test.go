package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const concurrencyFile = "../../docs/concurrency.md"

// The example of a race in docs/concurrency.md has one, and the race detector finds it.
func TestConcurrencyExampleRaces(t *testing.T) {
	text := readDoc(t, concurrencyFile)
	block := regexp.MustCompile("(?s)\n```go\n(.*?)\n```\n").FindStringSubmatch(text)
	if block == nil {
		t.Fatal("there is no example")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "-race", file)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GORACE=")
	out, err := cmd.CombinedOutput()
	for _, missing := range []string{"requires cgo", "not supported", "C compiler", "executable file not found"} {
		if err != nil && strings.Contains(string(out)+err.Error(), missing) {
			t.Skipf("no race detector here: %v: %s", err, out)
		}
	}
	if !strings.Contains(string(out), "WARNING: DATA RACE") || err == nil {
		t.Errorf("it ended with %v and without a race: %s", err, out)
	}
}

// What the table in docs/concurrency.md says is shared is in the file that it names.
func TestConcurrencyTableNamesWhatThereIs(t *testing.T) {
	file := regexp.MustCompile(`\]\((\.\./[^)]+\.go)\) \|$`)
	name := regexp.MustCompile("`([A-Za-z]+)`")
	checked := 0
	for line := range strings.Lines(readDoc(t, concurrencyFile)) {
		link := file.FindStringSubmatch(strings.TrimSpace(line))
		if link == nil {
			continue
		}
		code := readDoc(t, filepath.Join(filepath.Dir(concurrencyFile), link[1]))
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			checked++
			if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(code) {
				t.Errorf("%s has no %s", link[1], m[1])
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d names were found to check", checked)
	}
}

// Links in docs lead to files that are there.
func TestDocsLinks(t *testing.T) {
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, doc := range docs {
		for _, m := range link.FindAllStringSubmatch(readDoc(t, doc), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(doc), err)
			}
		}
	}
}

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
