package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSource(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index.json")
	content := `{"0/tcp": ["", "Reserved"], "9/tcp": ["Discard", ""], "9/udp": ["discard", ""], "9/sctp": ["discard", ""],
		"512/tcp": ["exec", ""], "512/udp": ["biff", ""], "80/tcp": ["www-http", "World Wide Web"], "4/udp": ["", "Unassigned"]}`
	if err := os.WriteFile(index, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	all := registries{"tcp": {}, "udp": {}}
	if err := all.read(index); err != nil {
		t.Fatal(err)
	}
	if err := all.overlay("# web\n80 tcp http www # as said\n81-82 both hosts\n512 udp biff comsat\n"); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(all.source()), "const table = ")
	want := "`9 discard\n80 http,www,www-http -\n81 hosts\n82 hosts\n512 exec biff,comsat\n`\n"
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestOverlayRefusesSlips(t *testing.T) {
	for _, line := range []string{"80 http", "80 sctp http", "eighty tcp http", "80- tcp http", "80 tcp"} {
		if err := (registries{"tcp": {}, "udp": {}}).overlay(line + "\n"); err == nil {
			t.Errorf("%q is accepted", line)
		}
	}
}

func TestReadRefusesRanges(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index.json")
	if err := os.WriteFile(index, []byte(`{"6000-6063/tcp": ["x11", ""]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (registries{"tcp": {}, "udp": {}}).read(index); err == nil {
		t.Error("a range is accepted, and would be lost")
	}
}
