package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sonde/internal/loss"
	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

var scanBegun = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func tcp(ports ...uint16) target.Ports { return target.PortList(probe.TCP, ports...) }
func udp(ports ...uint16) target.Ports { return target.PortList(probe.UDP, ports...) }

// span returns the ports from first to last.
func span(first, last uint16) (ports []uint16) {
	for p := first; p <= last; p++ {
		ports = append(ports, p)
	}
	return ports
}

// answer is a result of 192.0.2.host with what most have.
func answer(host byte, proto probe.Proto, port uint16, state probe.State, reason probe.Reason) probe.Result {
	return probe.Result{
		Target: probe.Target{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), port), Proto: proto},
		State:  state, Reason: reason, Attempt: 1, RTT: 250 * time.Microsecond, Time: scanBegun.Add(time.Duration(port) * time.Millisecond),
	}
}

// A story is a scan that has something of everything.
func story() (answers []probe.Result, hosts []scan.Host, total scan.Summary, options Options) {
	silent, closedUDP := span(3000, 3029), answer(1, probe.UDP, 54, probe.Closed, probe.PortUnreach)
	closedUDP.ICMP, closedUDP.TTL, closedUDP.Attempt = probe.ICMP{Type: 3, Code: 3}, 63, 2
	ssh := answer(1, probe.TCP, 22, probe.Open, probe.SynAck)
	sshSaid := ssh
	sshSaid.TTL, sshSaid.Reply = 64, []byte("SSH-2.0-OpenSSH_9.2p1 <&> /\x1b[31m\r\n")
	web := answer(1, probe.TCP, 80, probe.Open, probe.SynAck)
	web.Reply = []byte("=HYPERLINK(\"http://a/\"), b\nServer: x\r\n")
	dns := answer(1, probe.UDP, 53, probe.Open, probe.UDPResponse)
	dns.Reply = []byte("\x00\x00\x81\x80\x00\x01\xff\xfe")
	refused := answer(1, probe.TCP, 8080, probe.Filtered, probe.AdminProhibited)
	refused.From, refused.ICMP, refused.TTL = addr("198.18.0.2"), probe.ICMP{Type: 3, Code: 13}, 254
	answers = append(answers, ssh, web, dns, closedUDP, refused, sshSaid)
	for _, port := range span(1, 65) {
		if port != 22 {
			answers = append(answers, answer(2, probe.TCP, port, probe.Open, probe.SynAck))
		}
	}
	for _, port := range span(1, 65) { // it was found out later
		if port != 22 {
			answers = append(answers, answer(2, probe.TCP, port, probe.OpenFiltered, probe.Middlebox))
		}
	}
	proved := answer(2, probe.TCP, 22, probe.Open, probe.SynAck)
	proved.Reply = []byte("SSH-2.0-x\r\n")
	answers = append(answers, proved, answer(3, probe.TCP, 443, probe.Closed, probe.ConnRefused))
	hosts = []scan.Host{
		{
			Addr: addr("192.0.2.1"), Asked: tcp(append(silent, 22, 80, 8080)...).Union(udp(53, 54, 161, 162)), Silent: tcp(silent...).Union(udp(161, 162)),
			Reason: probe.RateLimited, PTR: "ns1.example\x1b",
		},
		{Addr: addr("192.0.2.2"), Asked: tcp(span(1, 65)...), Middlebox: true},
		{Addr: addr("192.0.2.3"), Asked: tcp(443, 444, 445).Union(udp(53)), GaveUp: true, Undecided: tcp(444, 445).Union(udp(53))},
		{Addr: addr("192.0.2.4"), Asked: tcp(span(1, 5)...), Silent: tcp(span(1, 5)...), Reason: probe.NoNeighbor},
	}
	total = scan.Summary{
		Hosts: 4, Targets: 37 + 65 + 4 + 5, Probes: 200, Answered: 5 + 65 + 1, Open: 3 + 1, Closed: 1 + 1, Filtered: 1 + 30 + 5, OpenFiltered: 2 + 64,
		Unanswered: 37, Undecided: 3, Elapsed: 1500 * time.Millisecond,
		Missed: loss.Estimate{Known: true, Answers: 71, Loss: 0.0984, Missed: 0.3, Missed95: 2},
		GaveUp: 1, Limited: 1, Middleboxes: 1, Skipped: 250,
	}
	options = Options{
		Names: map[netip.Addr]string{addr("192.0.2.1"): "host.example\x1b[31m"},
		Scan: Scan{Args: []string{"scan", "host.example", "-p", "--", "a\nb"}, Version: "1.2.3", Start: scanBegun, Seed: 7,
			Ports: tcp(append(silent, 22, 80, 8080)...).Union(udp(53, 54, 161, 162)), Hosts: 4},
	}
	return answers, hosts, total, options
}

// tell gives the story to a report, and returns what it wrote.
func tell(t *testing.T, format string, change func(*Options, *scan.Summary)) string {
	t.Helper()
	answers, hosts, total, options := story()
	if change != nil {
		change(&options, &total)
	}
	var out bytes.Buffer
	r, ok := New(format, &out, options)
	if !ok {
		t.Fatalf("there is no format %s", format)
	}
	if err := errors.Join(r.Put(answers[:3]), r.Put(answers[3:]), r.Span(uint64(len(hosts)), slices.Values(hosts)), r.Close(total)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func withReasons(o *Options, _ *scan.Summary) { o.Reason = true }
func onlyOpen(o *Options, _ *scan.Summary)    { o.OpenOnly = true }

func TestEveryFormat(t *testing.T) {
	for _, format := range Formats() {
		golden(t, "story."+format, tell(t, format, nil))
		golden(t, "story-open."+format, tell(t, format, onlyOpen))
	}
	golden(t, "story-reason.text", tell(t, "text", withReasons))
}

func TestNoSuchFormat(t *testing.T) {
	if r, ok := New("yaml", io.Discard, Options{}); ok {
		t.Errorf("yaml is %T", r)
	}
}

// The zero Options serve in every format, and nothing at all is a whole document.
func TestNothingToTell(t *testing.T) {
	for _, format := range Formats() {
		var out bytes.Buffer
		r, _ := New(format, &out, Options{})
		none := slices.Values([]scan.Host(nil))
		if err := errors.Join(r.Span(0, none), r.Close(scan.Summary{Complete: true})); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if format == "xml" {
			decodeXML(t, out.String())
		}
	}
}

// The bytes of a banner can be had back from JSON, and what is printed of it is harmless.
func TestJSONKeepsBannersExactly(t *testing.T) {
	answers, _, _, _ := story()
	want := map[string][]byte{}
	for _, a := range answers {
		if len(a.Reply) > 0 {
			want[a.Target.String()+a.Target.Proto.String()] = a.Reply
		}
	}
	got := map[string][]byte{}
	for line := range strings.Lines(tell(t, "json", nil)) {
		var in jsonResult
		if err := json.Unmarshal([]byte(line), &in); err != nil {
			t.Fatal(err)
		}
		if in.Type != typeResult || in.Banner == "" {
			continue
		}
		if strings.ContainsAny(in.Banner, "\x1b\r\n") {
			t.Errorf("a banner is not safe: %q", in.Banner)
		}
		r, err := in.result()
		if err != nil {
			t.Fatal(err)
		}
		got[r.Target.String()+r.Target.Proto.String()] = r.Reply
	}
	if len(got) != len(want) {
		t.Errorf("%d banners, want %d", len(got), len(want))
	}
	for at, reply := range want {
		if !bytes.Equal(got[at], reply) {
			t.Errorf("%s said %q, want %q", at, got[at], reply)
		}
	}
}

// A spreadsheet must not run what a stranger wrote.
func TestCSVIsHarmless(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(tell(t, "csv", nil))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 37 + 65 + 4 + 5; len(rows) != want {
		t.Errorf("%d rows, want %d: one for each port, and the header", len(rows), want)
	}
	for _, row := range rows {
		for i, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") || strings.Contains(cell, "\x1b") {
				t.Errorf("%s is %q", rows[0][i], cell)
			}
		}
	}
}

// decodeXML returns how many elements of each name a document has.
func decodeXML(t *testing.T, text string) map[string]int {
	t.Helper()
	names := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			names[e.Name.Local]++
		}
	}
}

// nmap describes its XML in a DTD; where that is installed, our documents have to obey it.
func TestXMLObeysTheDTD(t *testing.T) {
	const dtd = "/usr/share/nmap/nmap.dtd"
	if _, err := os.Stat(dtd); err != nil {
		t.Skip("nmap is not installed")
	}
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("xmllint is not installed")
	}
	for name, change := range map[string]func(*Options, *scan.Summary){
		"all": nil, "open": onlyOpen,
		"verbose":     func(o *Options, _ *scan.Summary) { o.Verbose = true },
		"whole":       func(_ *Options, s *scan.Summary) { s.Complete = true },
		"undescribed": func(o *Options, _ *scan.Summary) { o.Scan = Scan{} },
	} {
		file := filepath.Join(t.TempDir(), name+".xml")
		if err := os.WriteFile(file, []byte(tell(t, "xml", change)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("xmllint", "--noout", "--nonet", "--dtdvalid", dtd, file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v:\n%s", name, err, out)
		}
	}
}

// What was taken back stays taken back, also where open ports only are shown.
func TestOpenOnlyShowsWhatWasTakenBack(t *testing.T) {
	last := map[uint16]string{}
	for line := range strings.Lines(tell(t, "json", onlyOpen)) {
		var in jsonResult
		if err := json.Unmarshal([]byte(line), &in); err != nil {
			t.Fatal(err)
		}
		if in.Addr == addr("192.0.2.2") && in.Type == typeResult {
			last[in.Port] = in.State
		}
	}
	for port, state := range last {
		if want := map[bool]string{true: "open", false: "open|filtered"}[port == 22]; state != want {
			t.Errorf("port %d is %s, want %s", port, state, want)
		}
	}
}

func TestWhatWasMissedIsTold(t *testing.T) {
	estimate := func(loss_, missed, most float64) loss.Estimate {
		return loss.Estimate{Known: true, Answers: 10, Loss: loss_, Missed: missed, Missed95: most}
	}
	for want, s := range map[string]scan.Summary{
		"": {Answered: 3, Missed: estimate(0.1, 0, 0)},
		"loss about 9.8 %; 0.3 open ports expected to have been missed, at most 2 (95 %)": {Unanswered: 1, Answered: 9, Missed: estimate(0.0984, 0.3, 2)},
		"no loss seen; at most 4 open ports were missed (95 %)":                           {Unanswered: 1, Answered: 9, Missed: estimate(0, 0, 4)},
		"no loss seen; no open port is expected to have been missed (95 %)":               {Unanswered: 1, Answered: 9, Missed: estimate(0, 0, 0)},
		"nothing answered: what was lost on the way cannot be told":                       {Unanswered: 1},
		"too little answered to tell what was lost on the way":                            {Unanswered: 1, Answered: 1},
	} {
		if got := missed(s); got != want {
			t.Errorf("%+v is told as %q, want %q", s.Missed, got, want)
		}
	}
}

func TestFirstLine(t *testing.T) {
	for reply, want := range map[string]string{
		"":                                 "",
		"\r\n\r\n":                         "",
		"SSH-2.0-x\r\n":                    "SSH-2.0-x",
		"HTTP/1.1 200 OK\r\nServer: x\r\n": "HTTP/1.1 200 OK …",
		"a\x1b[31mbcdefgh":                 `a\x1b[31mbcdefgh`,
		"\x16\x03\x01\x00\x02":             "(5 bytes)",
		"\x00":                             "(1 byte)",
		strings.Repeat("é", 100):           strings.Repeat("é", bannerWidth) + " …",
	} {
		if got := firstLine([]byte(reply)); got != want {
			t.Errorf("%q is shown as %q, want %q", reply, got, want)
		}
	}
}
