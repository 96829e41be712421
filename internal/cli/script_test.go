package cli

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sonde/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	testscript.Main(m, map[string]func(){
		"sonde": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"peer":  peerMain,
	})
}

// The scripts say what a user types and what comes of it. Beside testscript's own commands they have:
//
//	waitfor FILE REGEXP        wait until the file has a match
//	make-cert CERT KEY AGE     write a certificate for localhost that was made so long ago (valid a year), and its key
//	env-from FILE REGEXP NAME  set an environment variable to the first group of the match
func TestScripts(t *testing.T) { runScripts(t, "testdata/script", nil) }

func runScripts(t *testing.T, dir string, setup func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir:   dir,
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitFor, "env-from": envFrom, "make-cert": makeCert,
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "ipv6":
				return hasIPv6(), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		RequireExplicitExec: true,
	})
}

// waitLimit is how long a script waits for what must come; a slow machine needs some of it, a right program none.
const waitLimit = 20 * time.Second

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor FILE REGEXP")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && pattern.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no match for %q; it is: %q (%v)", args[0], args[1], text, err)
		}
	}
}

func envFrom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: env-from FILE REGEXP NAME")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile(args[0]))
	if len(m) < 2 {
		ts.Fatalf("%s has no match for %q", args[0], args[1])
	}
	ts.Setenv(args[2], m[1])
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil || runtime.GOOS != "linux"
}
