package journal

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// A network is a prober whose answers depend on the target and the attempt only.
type network struct {
	every time.Duration // between two answers
	span  string        // at hand, by the names of all stages and spans that it is in
	asked map[question]bool
}

type question struct {
	span   string
	target probe.Target
}

func (n *network) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	buf := make([]probe.Probe, 4)
	for {
		k, ok := due.Next(ctx, buf)
		if !ok {
			return ctx.Err()
		}
		for _, p := range buf[:k] {
			n.asked[question{n.span, p.Target}] = true
			time.Sleep(n.every)
			report(answerTo(p))
		}
	}
}

// answerTo returns what a probe brings: a port's number says what it does.
func answerTo(p probe.Probe) probe.Result {
	r := probe.Result{Target: p.Target, Attempt: p.Attempt, Control: p.Control, Time: time.Now(), RTT: 81250, TTL: 64}
	switch kind := p.Port() % 7; {
	case kind == 0:
		r.State, r.Reason, r.Reply = probe.Open, probe.SynAck, []byte("220 \"hello\"\r\n\xff")
	case kind <= 2:
		r.State, r.Reason = probe.Closed, probe.Reset
	case kind == 3:
		r.State, r.Reason = probe.Filtered, probe.AdminProhibited
		r.From, r.ICMP = netip.MustParseAddr("198.18.0.2"), probe.ICMP{Type: 3, Code: 13}
	case kind <= 5 && int(p.Attempt) > int(kind)-3: // lost once, or twice
		r.State, r.Reason = probe.Open, probe.SynAck
	default:
		r.State, r.Reason = probe.Filtered, probe.NoResponse
	}
	return r
}

// An outcome is what reports are given: the answers of each stage, in order, and what the spans came to.
type outcome struct {
	answers []probe.Result
	spans   []string
}

func (o *outcome) Put(answers []probe.Result) error {
	o.answers = append(o.answers, answers...)
	return nil
}

// both gives answers to the journal first: what a report has shown must not be lost.
type both struct {
	journal *Journal
	out     *outcome
}

func (b both) Put(answers []probe.Result) error {
	if err := b.journal.Put(answers); err != nil {
		return err
	}
	return b.out.Put(answers)
}

// A scanner carries out a scan of two stages with a stage in each span that verifies it, as a command would.
type scanner struct {
	journal *Journal
	net     *network
	out     outcome
}

const targetsOfSpan = 14

func (s *scanner) scan() error {
	for _, name := range []string{"alive", "scan"} {
		if err := s.stage("", Stage{Name: name, Space: s.journal.Header().Local, Seed: 5, Attempts: 3, Timeout: time.Second}); err != nil {
			return err
		}
	}
	return s.journal.End()
}

// stage carries out a stage inside a span, or inside none.
func (s *scanner) stage(inside string, want Stage) error {
	st, err := s.journal.Begin(want)
	if err != nil {
		return err
	}
	plan := scan.NewPlan(st.Space, st.Seed)
	plan.Attempts, plan.Timeout = st.Attempts, st.Timeout
	for lo := uint64(0); lo < st.Space.Len(); lo += targetsOfSpan {
		span := scan.Span{Lo: lo, Hi: min(lo+targetsOfSpan, st.Space.Len())}
		name := fmt.Sprintf("%s %s %v", inside, st.Name, span)
		from := len(s.out.answers)
		if err := s.run(name, &plan, span); err != nil {
			return err
		}
		if inside == "" {
			if err := s.verify(name, s.out.answers[from:]); err != nil {
				return err
			}
		}
		if err := s.journal.EndSpan(); err != nil {
			return err
		}
	}
	return s.journal.EndStage()
}

func (s *scanner) run(name string, plan *scan.Plan, span scan.Span) error {
	past, err := s.journal.Span(span)
	if err != nil {
		return err
	}
	if err := s.journal.Replay(past, &s.out); err != nil {
		return err
	}
	s.net.span = name
	sum, err := scan.Run(context.Background(), scan.Job{
		Plan: *plan, Span: span, Prober: s.net, Sink: both{s.journal, &s.out}, Past: past, Mark: s.journal.Mark,
	})
	s.out.spans = append(s.out.spans, fmt.Sprintf("%s: %d open, %d closed, %d filtered, %d silent, %d undecided",
		name, sum.Open, sum.Closed, sum.Filtered, sum.Unanswered, sum.Undecided))
	return err
}

// verify asks every host with an open port for two others.
func (s *scanner) verify(span string, answers []probe.Result) error {
	var b target.Builder
	for _, r := range answers {
		if r.State == probe.Open {
			b.Add(r.Target.Addr(), r.Target.Addr(), target.PortList(probe.TCP, 65002, 65004))
		}
	}
	space, err := b.Space()
	if err != nil || space.Len() == 0 {
		return err
	}
	return s.stage(span, Stage{Name: "middlebox", Space: space, Seed: 6, Attempts: 2, Timeout: time.Second})
}

func spaceOf(t testing.TB, first, last string, ports ...uint16) target.Space {
	t.Helper()
	var b target.Builder
	b.Add(netip.MustParseAddr(first), netip.MustParseAddr(last), target.PortList(probe.TCP, ports...))
	s, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testHeader(t testing.TB) Header {
	return Header{
		Version: "1.2.3", Args: []string{"scan", "--journal", "a <b> \"c\"", "größe"}, Dir: "/tmp", Start: time.Now(), Seed: 1<<64 - 1,
		Local: spaceOf(t, "10.0.0.1", "10.0.0.4", 1, 2, 3, 4, 5, 6, 7),
		Names: map[netip.Addr]string{netip.MustParseAddr("10.0.0.1"): "one.example"}, Unresolved: []string{"no.example"},
	}
}

// begin creates a journal and a scanner that writes it.
func begin(t testing.TB, path string) *scanner {
	t.Helper()
	j, err := Create(path, testHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	return scannerOf(j)
}

func scannerOf(j *Journal) *scanner {
	return &scanner{journal: j, net: &network{every: 100 * time.Millisecond, asked: map[question]bool{}}}
}

// goOn resumes a journal that consists of text, and carries the scan out to its end. It returns what the file is then.
func goOn(t testing.TB, text []byte) (*scanner, []byte, error) {
	t.Helper()
	path := put(t, text)
	defer os.Remove(path)
	j, err := Resume(path)
	if err != nil {
		return nil, nil, err
	}
	s := scannerOf(j)
	err = errors.Join(s.scan(), j.Close())
	after, rerr := os.ReadFile(path)
	return s, after, errors.Join(err, rerr)
}

// quickDir is a directory in memory where there is one: the tests need no disk to be waited for.
func quickDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func put(t testing.TB, text []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp(quickDir(), "journal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "scan.journal")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
