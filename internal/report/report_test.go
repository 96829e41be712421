package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/loss"
	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A script is a prober that gives each port the answer that is written for it; a port without one is silent.
type script map[uint16]probe.Result

func (s script) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	var one [1]probe.Probe
	for {
		if _, ok := due.Next(ctx, one[:]); !ok {
			return ctx.Err()
		}
		r, ok := s[one[0].Port()]
		if !ok {
			r = probe.Result{State: probe.Filtered, Reason: probe.NoResponse}
		}
		r.Target, r.Attempt = one[0].Target, one[0].Attempt
		r.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		report(r)
	}
}

func answers() script {
	s := script{
		22:   {State: probe.Open, Reason: probe.SynAck, RTT: 1234 * time.Microsecond},
		80:   {State: probe.Open, Reason: probe.SynAck, RTT: 123 * time.Millisecond},
		443:  {State: probe.Closed, Reason: probe.ConnRefused, RTT: 500 * time.Microsecond},
		8080: {State: probe.Filtered, Reason: probe.AdminProhibited, From: netip.MustParseAddr("198.18.0.2"), ICMP: probe.ICMP{Type: 3, Code: 13}, RTT: time.Millisecond},
	}
	for port := uint16(1000); port < 1020; port++ {
		s[port] = probe.Result{State: probe.Closed, Reason: probe.ConnRefused, RTT: time.Millisecond}
	}
	for port := uint16(2000); port < 2030; port++ {
		s[port] = probe.Result{State: probe.Filtered, Reason: probe.AdminProhibited, From: netip.MustParseAddr("198.18.0.2"), ICMP: probe.ICMP{Type: 3, Code: 13}}
	}
	return s
}

// write scans the addresses with the script and returns what the report wrote.
func write(t *testing.T, make func(*bytes.Buffer) Report, s script, ports string, addrs ...string) string {
	t.Helper()
	p, err := target.ParsePorts(ports, probe.TCP, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b target.Builder
	for _, a := range addrs {
		b.Add(netip.MustParseAddr(a), netip.MustParseAddr(a), p)
	}
	space, err := b.Space()
	if err != nil {
		t.Fatal(err)
	}
	plan := scan.NewPlan(space, 1)
	plan.Attempts, plan.Timeout = 1, time.Second
	var out bytes.Buffer
	r := make(&out)
	total := scan.Summary{Complete: true}
	for span := range plan.Spans(plan.Whole(), space.Len()) {
		summary, err := scan.Run(t.Context(), scan.Job{Plan: plan, Span: span, Prober: s, Sink: r})
		if err := errors.Join(err, r.Span(summary.Hosts, summary.EachHost())); err != nil {
			t.Fatal(err)
		}
		total = total.Add(summary)
	}
	total.Elapsed, total.Missed = 1500*time.Millisecond, loss.Estimate{Answers: total.Answered} // how that is told has a test of its own
	if err := r.Close(total); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

const allPorts = "22,80,443,8080,1000-1019,2000-2029,3000-3014,4000"

func TestText(t *testing.T) {
	names := map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "host.example\x1b[31m"}
	for name, o := range map[string]Options{
		"text.golden":         {Names: names},
		"text-open.golden":    {Names: names, OpenOnly: true},
		"text-verbose.golden": {Names: names, Verbose: true},
		"text-color.golden":   {Names: names, Color: true},
	} {
		golden(t, name, write(t, func(w *bytes.Buffer) Report { return NewText(w, o) }, answers(), allPorts, "192.0.2.1"))
	}
}

func TestTextOfFewPorts(t *testing.T) {
	golden(t, "text-few.golden", write(t, func(w *bytes.Buffer) Report { return NewText(w, Options{}) }, answers(), "22,443,4000", "192.0.2.10", "192.0.2.9"))
}

func TestTextOfSilentHosts(t *testing.T) {
	addrs := []string{"192.0.2.200"}
	for a := netip.MustParseAddr("192.0.2.1"); len(addrs) < 20; a = a.Next() {
		addrs = append(addrs, a.String())
	}
	golden(t, "text-silent.golden", write(t, func(w *bytes.Buffer) Report { return NewText(w, Options{}) }, script{}, "1-20", addrs...))
}

func TestJSON(t *testing.T) {
	names := map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "host.example\x1b[31m"}
	got := write(t, func(w *bytes.Buffer) Report { return NewJSON(w, Options{Names: names}) }, answers(), allPorts, "192.0.2.1", "2001:db8::1")
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	types := map[string]int{}
	for i, line := range lines {
		var object struct {
			Type  string
			State string
			Addr  netip.Addr
		}
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("line %d: %v: %s", i, err, line)
		}
		types[object.Type]++
	}
	if want := map[string]int{"result": 2 * 54, "silent": 2, "summary": 1}; !cmp.Equal(types, want) {
		t.Errorf("objects %v, want %v", types, want)
	}
	for _, want := range []string{
		`{"type":"result","addr":"192.0.2.1","name":"host.example\u001b[31m","port":22,"proto":"tcp","state":"open","reason":"syn-ack","service":"ssh","rtt_ms":1.234,"attempt":1,"time":"2026-01-02T03:04:05Z"}`,
		`{"type":"result","addr":"2001:db8::1","port":8080,"proto":"tcp","state":"filtered","reason":"admin-prohibited","from":"198.18.0.2","icmp_type":3,"icmp_code":13,"service":"http-alt","rtt_ms":1,"attempt":1,"time":"2026-01-02T03:04:05Z"}`,
		`{"type":"silent","addr":"2001:db8::1","proto":"tcp","state":"filtered","reason":"no-response","attempts":1,"ports":"3000-3014,4000"}`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line is %s", want)
		}
	}
	summary := `{"type":"summary","hosts":2,"targets":140,"probes":140,"answered":108,"open":4,"closed":42,"filtered":94,"open_filtered":0,"unanswered":32,"undecided":0,"gave_up":0,"limited":0,"middleboxes":0,"skipped":0,"elapsed_s":1.5,"complete":true}`
	if last := lines[len(lines)-1]; last != summary {
		t.Errorf("the last line is %s, want %s", last, summary)
	}
}

func TestJSONOfOpenPortsOnly(t *testing.T) {
	got := write(t, func(w *bytes.Buffer) Report { return NewJSON(w, Options{OpenOnly: true}) }, answers(), allPorts, "192.0.2.1")
	if n := strings.Count(got, `"type":"result"`); n != 2 || strings.Contains(got, "silent\"") || !strings.Contains(got, `"closed":21`) {
		t.Errorf("%d results in:\n%s", n, got)
	}
}

// A writer that fails fails the report: nothing is lost without a word.
func TestWriteErrors(t *testing.T) {
	for _, name := range Formats() {
		r, ok := New(name, full{}, Options{})
		if !ok {
			t.Fatalf("there is no format %s", name)
		}
		if err := r.Close(scan.Summary{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestIncompleteIsSaid(t *testing.T) {
	var out bytes.Buffer
	if err := NewText(&out, Options{}).Close(scan.Summary{Hosts: 1, Targets: 1000, Open: 1, Undecided: 999, Probes: 12}); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^INCOMPLETE: 999 of 1,000 targets without a verdict$`).MatchString(out.String()) {
		t.Errorf("it says: %s", out.String())
	}
}
