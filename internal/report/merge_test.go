package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonde/internal/loss"
	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// merged reads texts, each a file, and writes them in a format.
func merged(t interface {
	Helper()
	Fatal(...any)
}, format string, texts ...string) (string, *Merge) {
	t.Helper()
	var m Merge
	for i, text := range texts {
		if err := m.Read(fmt.Sprintf("file%d", i+1), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	r, _ := New(format, &out, Options{Names: m.Names(), Scan: m.Scan()})
	if err := errors.Join(m.Write(r, r.Span), r.Close(m.Summary())); err != nil {
		t.Fatal(err)
	}
	return out.String(), &m
}

// lastLines returns the lines of a JSON output sorted, of each target only the last.
func lastLines(t *testing.T, text string) []string {
	t.Helper()
	last := map[string]string{}
	for line := range strings.Lines(text) {
		var in struct {
			Type, Addr, Proto string
			Port              int
		}
		if err := json.Unmarshal([]byte(line), &in); err != nil {
			t.Fatal(err)
		}
		last[fmt.Sprint(in)] = line
	}
	var lines []string
	for _, line := range last {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// A file that is read and written again says the same in every line, but what a later line took back.
func TestMergeKeepsEveryLine(t *testing.T) {
	text := tell(t, "json", nil)
	got, m := merged(t, "json", text)
	if diff := cmp.Diff(lastLines(t, text), lastLines(t, got)); diff != "" {
		t.Errorf("what was read (-) and written (+):\n%s", diff)
	}
	if len(m.Warnings()) > 0 {
		t.Errorf("warnings: %q", m.Warnings())
	}
	again, _ := merged(t, "json", got)
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("once more:\n%s", diff)
	}
}

// Every other format comes out as if the scan had written it itself.
func TestMergeWritesEveryFormat(t *testing.T) {
	text := tell(t, "json", nil)
	for _, format := range []string{"text", "csv", "xml", "grep"} {
		got, _ := merged(t, format, text)
		if diff := cmp.Diff(tell(t, format, nil), got); diff != "" {
			t.Errorf("%s (-the scan +sonde report):\n%s", format, diff)
		}
	}
}

// lines makes a JSON output of what its arguments say.
func lines(t *testing.T, answers []probe.Result, hosts []scan.Host, total scan.Summary, begun Scan) string {
	t.Helper()
	var out bytes.Buffer
	r := NewJSON(&out, Options{Scan: begun})
	if err := errors.Join(r.Put(answers), r.Span(uint64(len(hosts)), slices.Values(hosts)), r.Close(total)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTheBetterKnowledgeCounts(t *testing.T) {
	port := func(state probe.State, reason probe.Reason) []probe.Result {
		return []probe.Result{answer(9, probe.TCP, 80, state, reason)}
	}
	host := func(silent, undecided target.Ports) []scan.Host {
		return []scan.Host{{Addr: addr("192.0.2.9"), Silent: silent, Undecided: undecided}}
	}
	none := target.Ports{}
	open := lines(t, port(probe.Open, probe.SynAck), nil, scan.Summary{}, Scan{})
	closed := lines(t, port(probe.Closed, probe.ConnRefused), nil, scan.Summary{}, Scan{})
	forbidden := lines(t, port(probe.Filtered, probe.AdminProhibited), nil, scan.Summary{}, Scan{})
	silent := lines(t, nil, host(tcp(80), none), scan.Summary{}, Scan{})
	undecided := lines(t, nil, host(none, tcp(80)), scan.Summary{}, Scan{})
	elsewhere := lines(t, nil, host(tcp(81), none), scan.Summary{}, Scan{})
	descending := []struct{ text, want string }{
		{open, `"state":"open"`}, {closed, `"state":"closed"`}, {forbidden, `"reason":"admin-prohibited"`},
		{silent, `"type":"silent"`}, {undecided, `"type":"undecided"`}, {elsewhere, ""},
	}
	for i, better := range descending {
		for _, worse := range descending[i:] {
			for _, order := range [][]string{{better.text, worse.text}, {worse.text, better.text}} {
				got, m := merged(t, "json", order...)
				got = strings.Split(got, `"type":"summary"`)[0]
				if better.want != "" && !strings.Contains(got, better.want) {
					t.Errorf("%s\nand %s\ncome to %s", order[0], order[1], got)
				}
				s := m.Summary()
				if n := strings.Count(got, `80`); better.want != "" && n < 1 || s.Open+s.Closed+s.Filtered+s.OpenFiltered+s.Undecided != s.Targets {
					t.Errorf("%s\nand %s\ncome to %+v", order[0], order[1], s)
				}
			}
		}
	}
	if got, _ := merged(t, "json", open+closed); !strings.Contains(got, `"open":1`) {
		t.Errorf("two outputs in one file come to %s", got)
	}
}

// In one output the later line counts, whatever it says.
func TestTheLaterLineCounts(t *testing.T) {
	back := []probe.Result{answer(9, probe.TCP, 80, probe.Open, probe.SynAck), answer(9, probe.TCP, 80, probe.OpenFiltered, probe.Middlebox)}
	got, m := merged(t, "json", lines(t, back, nil, scan.Summary{}, Scan{}))
	if strings.Contains(got, `"state":"open",`) || m.Summary().Open != 0 {
		t.Errorf("what was taken back is there again: %s", got)
	}
}

// Of a port that is open in both the banner stays, whichever comes first.
func TestABannerIsKept(t *testing.T) {
	mute := answer(9, probe.TCP, 22, probe.Open, probe.SynAck)
	mute.Time = mute.Time.Add(time.Hour)
	spoke := answer(9, probe.TCP, 22, probe.Open, probe.SynAck)
	spoke.Reply = []byte("SSH-2.0-x")
	a, b := lines(t, []probe.Result{mute}, nil, scan.Summary{}, Scan{}), lines(t, []probe.Result{spoke}, nil, scan.Summary{}, Scan{})
	for _, order := range [][]string{{a, b}, {b, a}} {
		if got, _ := merged(t, "json", order...); !strings.Contains(got, `"banner":"SSH-2.0-x"`) {
			t.Errorf("the banner is gone: %s", got)
		}
	}
}

// summaryOf counts what hosts 9 and up answered, each a port, and what is undecided beyond any line.
func summaryOf(open, undecided uint64, complete bool) scan.Summary {
	return scan.Summary{Hosts: open, Targets: open + undecided, Answered: open, Open: open, Undecided: undecided, Probes: 10, Elapsed: time.Second, Complete: complete}
}

func openPorts(hosts ...byte) (all []probe.Result) {
	for _, h := range hosts {
		all = append(all, answer(h, probe.TCP, 80, probe.Open, probe.SynAck))
	}
	return all
}

func TestSummariesAreSummed(t *testing.T) {
	first := Scan{Start: scanBegun, Seed: 1, Shard: "1/2", Ports: tcp(80), Hosts: 3, Version: "1"}
	second := first
	second.Shard, second.Start = "2/2", scanBegun.Add(time.Hour)
	one := lines(t, openPorts(1, 2), nil, summaryOf(2, 0, true), first)
	two := lines(t, openPorts(3), nil, summaryOf(1, 0, true), second)
	_, m := merged(t, "json", one, two)
	want := scan.Summary{Hosts: 3, Targets: 3, Answered: 3, Open: 3, Probes: 20, Elapsed: 2 * time.Second, Complete: true, Missed: loss.Estimate{}}
	if diff := cmp.Diff(counted(want), counted(m.Summary())); diff != "" {
		t.Errorf("two shards:\n%s", diff)
	}
	if s := m.Scan(); s.Shard != "" || !s.Start.Equal(scanBegun) || s.Seed != 1 || s.Hosts != 3 {
		t.Errorf("both are described as %+v", s)
	}

	// What was interrupted and is whole now counts once; two scans of the same hosts count each port once.
	cutOff := lines(t, openPorts(1), nil, summaryOf(1, 1, false), first)
	for _, order := range [][]string{{cutOff, one}, {one, cutOff}, {one, one}} {
		_, m = merged(t, "json", order...)
		if diff := cmp.Diff(counted(summaryOf(2, 0, true)), counted(m.Summary())); diff != "" {
			t.Errorf("a scan and its beginning:\n%s", diff)
		}
	}
	other := first
	other.Seed = 2
	_, m = merged(t, "json", one, lines(t, openPorts(1, 2), nil, summaryOf(2, 0, true), other))
	if s := m.Summary(); s.Open != 2 || s.Hosts != 2 || s.Probes != 20 {
		t.Errorf("two scans of the same hosts come to %+v", s)
	}

	// What an output counts without a line of it is added.
	shownOpen := summaryOf(1, 0, true)
	shownOpen.Targets, shownOpen.Answered, shownOpen.Closed, shownOpen.Hosts = 100, 100, 99, 5
	_, m = merged(t, "json", one, lines(t, openPorts(7), nil, shownOpen, Scan{}))
	if s := m.Summary(); s.Open != 3 || s.Closed != 99 || s.Targets != 102 || s.Hosts != 7 {
		t.Errorf("an output of open ports only adds up to %+v", s)
	}
}

func counted(s scan.Summary) string {
	return fmt.Sprint(s.Hosts, s.Targets, s.Probes, s.Answered, s.Open, s.Closed, s.Filtered, s.OpenFiltered, s.Unanswered, s.Undecided, s.Elapsed, s.Complete)
}

func TestLossesAddUp(t *testing.T) {
	var l losses
	l.add(loss.Estimate{Known: true, Answers: 30, Loss: 0.1, Missed: 1, Missed95: 3})
	l.add(loss.Estimate{}) // nobody answered: nothing is said
	l.add(loss.Estimate{Known: true, Answers: 10, Loss: 0.5, Missed: 2, Missed95: 4})
	if s := l.sum; !s.Known || s.Loss < 0.1999 || s.Loss > 0.2001 || s.Missed != 3 || s.Missed95 != 7 {
		t.Errorf("they come to %+v", s)
	}
	l.add(loss.Estimate{Answers: 1})
	l.add(loss.Estimate{Known: true, Answers: 10})
	if l.sum.Known {
		t.Error("one is not known, and the sum is")
	}
}

func TestWhatIsNotWholeIsSaid(t *testing.T) {
	text := tell(t, "json", func(_ *Options, s *scan.Summary) { s.Complete, s.Undecided = true, 0 })
	whole := strings.TrimSuffix(text, "\n")
	summary := strings.LastIndex(whole, "\n")
	for name, c := range map[string]struct{ text, warning string }{
		"without a summary": {text[:summary+1], "file1 has no summary: it is not whole"},
		"cut off":           {text[:len(text)-20], "file1 ends within a line: what was written of it until then is used"},
	} {
		got, m := merged(t, "json", c.text)
		if !cmp.Equal(m.Warnings(), []string{c.warning}) {
			t.Errorf("%s: warnings %q", name, m.Warnings())
		}
		if !strings.Contains(got, `"complete":false`) || strings.Count(got, `"type":"result"`) == 0 {
			t.Errorf("%s: it comes to %s", name, got)
		}
	}
	if _, m := merged(t, "json", whole); len(m.Warnings()) > 0 || !m.Summary().Complete {
		t.Errorf("a missing line end alone is said to be %q", m.Warnings())
	}
}

func TestBadLines(t *testing.T) {
	good := `{"type":"silent","addr":"192.0.2.1","proto":"tcp","state":"filtered","reason":"no-response","ports":"1"}` + "\n"
	result := func(change ...string) string {
		line := `{"type":"result","addr":"192.0.2.1","port":80,"proto":"tcp","state":"open","reason":"syn-ack","rtt_ms":1,"attempt":1,"time":"2026-01-02T03:04:05Z","banner_base64":"YQ=="}`
		return strings.NewReplacer(change...).Replace(line) + "\n"
	}
	for text, want := range map[string]string{
		"":                                                  "f is empty",
		"\n\n":                                              "f is empty",
		"PORT STATE\n":                                      "f is no JSON output of a scan: line 1: this is no JSON",
		"{}\n":                                              "f is no JSON output of a scan: line 1: \"\" is no type of line",
		`{"type":"news"}` + "\n":                            "f is no JSON output of a scan: line 1: \"news\" is no type of line",
		good + "oops\n":                                     "f:2: this is no JSON",
		good + "\n" + good + "[]\n":                         "f:4: this is no JSON",
		good + `{"type":"silent"}`:                          "",
		good + `{"type":"host"}` + nl:                       "f:2: the line has no address",
		good + result("192.0", "x.0"):                       "f:2: ",
		good + result(":80,", ":0,"):                        "f:2: there is no port 0",
		good + result("tcp", "sctp"):                        `f:2: "sctp" is no protocol`,
		good + result("open", "ajar"):                       `f:2: "ajar" is no state`,
		good + result("open", "unset"):                      `f:2: "unset" is no state`,
		good + result("syn-ack", "x"):                       `f:2: "x" is no reason`,
		good + result(`:1,"a`, `:-1,"a`):                    "f:2: -0.001 s is no time",
		good + result("YQ==", "Y"):                          "f:2: illegal base64",
		good + result("2026", "9026"):                       "f:2: the year 9026",
		strings.Replace(good, `"1"`, `"2-1"`, 1):            "f is no JSON output of a scan: line 1: \"2-1\" is no list of ports",
		good + strings.Replace(good, `"1"`, `"1,1"`, 1):     `f:2: "1,1" is no list of ports`,
		good + strings.Replace(good, `"1"`, `"1-99999"`, 1): `f:2: "1-99999" is no list of ports`,
		good + strings.Replace(good, "no-response", "syn-ack", 1): `f:2: "syn-ack" is no reason for silence`,
		good + `{"type":"summary","open":-1}` + nl:                "f:2: ",
		good + `{"type":"summary","elapsed_s":-1}` + nl:           "f:2: -1 s is no time",
		good + strings.Repeat("x", longestLine+1):                 "f:2: the line is longer",
	} {
		var m Merge
		err := m.Read("f", strings.NewReader(text))
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%.100q gives %.200q, want %q", text, got, want)
		}
	}
}

const nl = "\n"

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFull }

func TestReadErrorsAreTold(t *testing.T) {
	var m Merge
	if err := m.Read("f", failing{}); !errors.Is(err, errFull) {
		t.Errorf("it says %v", err)
	}
}

// However a scan's hosts are dealt to files, the files come to the same as the scan.
func TestShardsComeToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3).Draw(t, "shards")
		type shard struct {
			answers []probe.Result
			hosts   []scan.Host
			total   scan.Summary
		}
		shards, whole := make([]shard, n), shard{}
		for i := range byte(rapid.IntRange(1, 12).Draw(t, "hosts")) {
			h := scan.Host{Addr: netip.AddrFrom4([4]byte{192, 0, 2, i})}
			var answers []probe.Result
			for port := range uint16(rapid.IntRange(0, 40).Draw(t, "answered")) {
				state := rapid.SampledFrom([]probe.State{probe.Open, probe.Closed, probe.Filtered}).Draw(t, "state")
				answers = append(answers, answer(i, probe.TCP, port+1, state, probe.SynAck))
			}
			h.Silent = tcp(span(100, uint16(rapid.IntRange(99, 140).Draw(t, "silent")))...)
			h.Undecided = udp(span(200, uint16(rapid.IntRange(199, 210).Draw(t, "undecided")))...)
			h.Middlebox = rapid.Bool().Draw(t, "middlebox")
			s := &shards[rapid.IntRange(0, n-1).Draw(t, "shard")]
			for _, into := range []*shard{s, &whole} {
				into.answers, into.hosts = append(into.answers, answers...), append(into.hosts, h)
				g := newGathering()
				g.put(answers)
				tally(&into.total, &h, g.host(scan.Host{Addr: h.Addr}))
			}
		}
		var texts []string
		for _, s := range append(shards, whole) {
			var out bytes.Buffer
			r := NewJSON(&out, Options{})
			s.total.Complete = true
			if err := errors.Join(r.Put(s.answers), r.Span(uint64(len(s.hosts)), slices.Values(s.hosts)), r.Close(s.total)); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, out.String())
		}
		parts, _ := merged(t, "text", texts[:n]...)
		all, _ := merged(t, "text", texts[n])
		if diff := cmp.Diff(all, parts); diff != "" {
			t.Fatalf("the whole (-) and its shards (+):\n%s", diff)
		}
	})
}

// Whatever is read, what comes of it is a file that comes to itself.
func FuzzMerge(f *testing.F) {
	var t testing.T
	story := tell(&t, "json", nil)
	f.Add(story)
	for line := range strings.Lines(story) {
		f.Add(line + line)
	}
	f.Add(`{"type":"summary","loss":1e9,"expected_missed":1,"expected_missed_95":1,"open":18446744073709551615,"complete":true}` + nl)
	f.Fuzz(func(t *testing.T, text string) {
		var m Merge
		if m.Read("f", strings.NewReader(text)) != nil {
			return
		}
		var out bytes.Buffer
		r := NewJSON(&out, Options{Names: m.Names(), Scan: m.Scan()})
		if err := errors.Join(m.Write(r, r.Span), r.Close(m.Summary())); err != nil {
			t.Fatal(err)
		}
		again, _ := merged(t, "json", out.String())
		if diff := cmp.Diff(out.String(), again); diff != "" {
			t.Errorf("read again:\n%s", diff)
		}
		for _, format := range []string{"text", "csv", "xml", "grep"} {
			merged(t, format, out.String())
		}
	})
}
