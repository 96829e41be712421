package cli

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

var update = flag.Bool("update", false, "TestGuide: write into the guide what its commands say now")

const guideFile = "../../docs/guide.md"

// The transcripts in the guide are what its commands say. To write them anew:
//
//	go test ./internal/cli -run TestGuide -update
//
// A fenced block marked «console» is a terminal: its lines that begin with "$ " are run by sh, in order,
// each to its end; "> " goes on with a command. One marked «console server» is a terminal beside it, whose one command goes on while the blocks
// under it are run; a line "^C" ends it when its section ends, and without such a line it has to end by
// itself. Times, round trips, fingerprints and ports that the kernel chose may differ from run to run, and nothing else.
func TestGuide(t *testing.T) {
	network := lab.Enter(t)
	if network == nil {
		return
	}
	guideHosts(t, network)
	text, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{t: t, dir: t.TempDir(), lines: strings.Split(string(text), "\n")}
	fresh := strings.Join(g.run(), "\n")
	diff := cmp.Diff(strings.Split(mask(string(text)), "\n"), strings.Split(mask(fresh), "\n"))
	switch {
	case diff != "" && *update:
		err = os.WriteFile(guideFile, []byte(fresh), 0o644)
	case diff != "":
		t.Errorf("the guide is not what its commands say (-guide +now; -update writes it anew):\n%s", diff)
	}
	if err != nil {
		t.Error(err)
	}
}

// guideHosts makes the hosts that the guide tells of, at the addresses that it names.
func guideHosts(t *testing.T, network *lab.Net) {
	const bye, broken, silent, forbidden, disguised = 7001, 7002, 1002, 1003, 1004
	rules := []lab.Rule{{Ports: lab.Port(silent), Do: lab.Drop}, {Ports: lab.Port(silent), Do: lab.Drop, Proto: probe.UDP},
		{Ports: lab.Port(forbidden), Do: lab.AdminProhibited, Proto: probe.UDP},
		{Ports: lab.Port(broken), Flags: lab.FIN, Do: lab.Reset}, {Ports: lab.Port(forbidden), Do: lab.AdminProhibited}, {Ports: lab.Port(disguised), Do: lab.PortUnreach}}
	near := network.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Port(80)}, {Ports: lab.Port(bye), Banner: []byte("bye\n"), Do: lab.Hangup}, {Ports: lab.Port(broken)},
			{Ports: lab.Port(17), Proto: probe.UDP, Do: lab.Answer, Reply: []byte("Say what you see.\r\n")}},
		Rules: rules, Sysctls: lab.NoICMPLimits(),
	})
	far := near.Behind(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(80)}}})
	for host, want := range map[*lab.Host]string{near: "198.18.1.2", far: "198.18.2.2"} {
		if host.IPv4 != netip.MustParseAddr(want) {
			t.Fatalf("the host %v is not where the guide says, at %s", host.IPv4, want)
		}
	}
}

// A guide is the text whose transcripts are run.
type guide struct {
	t       *testing.T
	dir     string // where commands are run
	lines   []string
	servers []*guideServer // those that run
	fresh   map[int][]string
}

// run returns the lines of the guide with the transcripts as they are now.
func (g *guide) run() (now []string) {
	g.fresh = map[int][]string{} // transcripts by the line that opens them
	ends := map[int]int{}
	for i := 0; i < len(g.lines); i++ {
		kind, fence := strings.CutPrefix(g.lines[i], "```")
		if strings.HasPrefix(g.lines[i], "#") {
			g.endServers()
		}
		if !fence {
			continue
		}
		end := i + 1 + slices.Index(g.lines[i+1:], "```")
		if end == i {
			g.t.Fatalf("the block that begins in line %d has no end", i+1)
		}
		g.block(kind, i, g.lines[i+1:end])
		ends[i], i = end, end
	}
	g.endServers()
	for i := 0; i < len(g.lines); i++ {
		now = append(now, g.lines[i])
		if text, ran := g.fresh[i]; ran {
			now = append(now, text...)
			i = ends[i] - 1
		}
	}
	return now
}

func (g *guide) block(kind string, at int, old []string) {
	switch kind {
	case "console":
		var now []string
		for i := 0; i < len(old); {
			n := commandLines(old[i:])
			if n > 0 {
				now = append(append(now, old[i:i+n]...), g.command(commandText(old[i:i+n]))...)
			}
			i += max(1, n)
		}
		g.fresh[at] = keep(old, now)
	case "console server":
		g.servers = append(g.servers, g.startServer(at, old))
	}
}

// commandLines returns how many lines the command that lines begin with has: none if they begin with output.
func commandLines(lines []string) (n int) {
	if strings.HasPrefix(lines[0], "$ ") {
		for n = 1; n < len(lines) && strings.HasPrefix(lines[n], "> "); n++ {
		}
	}
	return n
}

// commandText is what was typed after the prompts.
func commandText(lines []string) string {
	var typed []string
	for _, line := range lines {
		typed = append(typed, line[2:])
	}
	return strings.Join(typed, "\n")
}

// command returns what a command prints, on both streams.
func (g *guide) command(line string) []string {
	cmd := exec.CommandContext(g.t.Context(), "sh", "-c", line)
	cmd.Dir = g.dir
	out, _ := cmd.CombinedOutput() // how it exits is the transcript's matter
	return outputLines(out)
}

// A guideServer is a command that goes on while others run. It is the writer of its own output.
type guideServer struct {
	cmd *exec.Cmd
	at  int
	old []string // its transcript in the guide

	mu  sync.Mutex
	out bytes.Buffer
}

func (s *guideServer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *guideServer) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return outputLines(s.out.Bytes())
}

const interruptLine = "^C"

// startServer starts a server and waits until it says that it listens.
func (g *guide) startServer(at int, old []string) *guideServer {
	command, ok := strings.CutPrefix(old[0], "$ ")
	if !ok {
		g.t.Fatalf("line %d is not the command of a server", at+2)
	}
	s := &guideServer{cmd: exec.CommandContext(g.t.Context(), "sh", "-c", "exec "+command), at: at, old: old}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = g.dir, s, s
	if err := s.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	listens := func(lines []string) (n int) {
		for _, line := range lines {
			if strings.Contains(line, "listening ") {
				n++
			}
		}
		return n
	}
	g.await(func() bool { return listens(s.said()) >= max(1, listens(old)) })
	return s
}

// endServers ends the servers of a section, when they have said what the guide has them say before ^C.
func (g *guide) endServers() {
	for _, s := range g.servers {
		now := []string{s.old[0]}
		if end := slices.Index(s.old, interruptLine); end >= 0 {
			g.await(func() bool { return len(s.said()) >= end-1 })
			before := s.said()
			_ = s.cmd.Process.Signal(os.Interrupt) // one that has ended is seen below
			_ = s.cmd.Wait()
			now = append(append(append(now, before...), interruptLine), s.said()[len(before):]...)
		} else {
			late := time.AfterFunc(waitLimit, func() { _ = s.cmd.Process.Kill() })
			_ = s.cmd.Wait() // how it exits is not its transcript's matter
			late.Stop()
			now = append(now, s.said()...)
		}
		g.fresh[s.at] = keep(s.old, now)
	}
	g.servers = nil
}

// await waits for what must come. What does not is seen in the transcript.
func (g *guide) await(come func() bool) {
	limit := waitLimit
	if *update {
		limit = time.Second // the guide may be wrong about what comes
	}
	for deadline := time.Now().Add(limit); !come() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
}

// outputLines are the lines of an output, without blanks at their ends.
func outputLines(out []byte) (lines []string) {
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return lines
}

// keep returns the new lines, in the old one's words where only what may differ does.
func keep(old, now []string) []string {
	known := map[string]string{}
	for _, line := range old {
		known[mask(line)] = line
	}
	for i, line := range now {
		if before, ok := known[mask(line)]; ok {
			now[i] = before
		}
	}
	return now
}

// What may differ from run to run, and what it is replaced by.
var masks = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`), "TIME"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "CLOCK"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?(ns|µs|ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "FINGERPRINT"},
	{regexp.MustCompile(`"(rtt_ms|elapsed_s)":[\d.e-]+`), `"$1":DURATION`},
	{regexp.MustCompile(`:(3[2-9]\d{3}|[45]\d{4}|60\d{3})\b`), ":PORT"}, // Linux chooses from 32768 to 60999
}

func mask(text string) string {
	for _, m := range masks {
		text = m.what.ReplaceAllString(text, m.by)
	}
	return text
}
