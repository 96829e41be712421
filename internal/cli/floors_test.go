package cli

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// floors is the drawing in ARCHITECTURE.md: packages may import only what is on a lower floor. All may
// use probe, the words. Packages on one floor do not know each other.
var floors = [][]string{
	{"probe"},
	{"target", "shuffle", "packet", "service", "payload", "safetext", "loss", "cert"},
	{"pace", "sock", "route", "xdp"},
	{"probe/connect", "probe/udp", "probe/ping", "probe/banner", "probe/stateless", "probe/syn", "serve", "dial"},
	{"scan", "echo", "talk", "listen", "measure"},
	{"report", "journal"},
	{"cli"},
	{""}, // main
}

// aside are packages that no part of the program may import: tests, tools and documents.
var aside = map[string]bool{
	"internal/lab": true, "internal/sock/socktest": true, "internal/dial/dialtest": true, "internal/service/gen": true, "bench": true, "bench/curve": true, "docs": true, "docs/gen": true,
}

func TestImportsGoDown(t *testing.T) {
	floor := map[string]int{}
	for i, packages := range floors {
		for _, p := range packages {
			path := "sonde/internal/" + p
			if p == "" {
				path = "sonde"
			}
			floor[path] = i
		}
	}
	met := map[string]bool{}
	for _, p := range goList(t) {
		if aside[strings.TrimPrefix(p.ImportPath, "sonde/")] {
			continue
		}
		own, ok := floor[p.ImportPath]
		if !ok {
			t.Errorf("%s is on no floor: put it into ARCHITECTURE.md and into this test", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "sonde/") {
				continue
			}
			if below, ok := floor[imported]; !ok || below >= own {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, imported)
			}
		}
		met[p.ImportPath] = true
	}
	for path := range floor {
		if !met[path] {
			t.Errorf("the drawing has %s, the tree has not", path)
		}
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

// goList lists the packages as they are on the systems that have files of their own.
func goList(t *testing.T) []listed {
	t.Helper()
	var all []listed
	for _, system := range []string{"linux", "windows"} {
		cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "sonde/...")
		cmd.Env = append(cmd.Environ(), "GOOS="+system)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		decoder := json.NewDecoder(strings.NewReader(string(out)))
		for {
			var p listed
			if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
	}
	return all
}
