package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Outputs that go to one file at the same time: each is whole or refused, whichever comes when.
func TestOutputsToOneFileAreWhole(t *testing.T) {
	const writers, times, lines = 8, 300, 20
	name := filepath.Join(t.TempDir(), "out")
	write := func(text []byte) bool {
		f, err := createPartial(name)
		if err != nil {
			return false // another's
		}
		for range lines {
			if _, err := f.Write(text); err != nil {
				t.Error(err)
			}
		}
		if err := f.finish(); err != nil {
			t.Error(err)
		}
		return true
	}
	if !write([]byte("the first\n")) {
		t.Fatal("nobody else writes, and it is refused")
	}
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for k := range times {
				write(fmt.Appendf(nil, "%d/%d\n", i, k))
				got, err := os.ReadFile(name)
				if err != nil {
					t.Error(err)
					return
				}
				first, _, _ := bytes.Cut(got, []byte("\n"))
				if want := bytes.Repeat(append(first, '\n'), lines); !bytes.Equal(got, want) {
					t.Errorf("the file is of several: %q", got)
				}
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(name + partialSuffix); !os.IsNotExist(err) {
		t.Errorf("something is left behind: %v", err)
	}
}

// What was locked may have lost its name to another run meanwhile.
func TestHasName(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out.partial")
	f, err := openLocked(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !hasName(f, name) {
		t.Error("a file that was just made has not its name")
	}
	if err := os.Rename(name, name+".moved"); err != nil {
		t.Fatal(err)
	}
	if hasName(f, name) {
		t.Error("a file that was renamed has its name still")
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if hasName(f, name) {
		t.Error("another file of the name is taken for it")
	}
}
