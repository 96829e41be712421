package report

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// longestLine is more than any line that JSON writes: 65,535 ports with commas between, twice over, and a banner.
const longestLine = 1 << 20

// A part is what one output says: the lines up to and with a summary.
type part struct {
	gathering
	hosts   map[netip.Addr]*scan.Host // what is said beside answers; Asked is not filled
	names   map[netip.Addr]string
	scan    Scan
	summary scan.Summary
	whole   bool // it has its summary
	lines   int
}

func newPart(s *senders) *part {
	return &part{gathering: gatheringOf(s), hosts: map[netip.Addr]*scan.Host{}, names: map[netip.Addr]string{}}
}

// A LineError says which line of a file is no line that sonde writes, and why.
type LineError struct {
	File string
	Line int
	Err  error
}

// Error names the file and the line.
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns what is wrong with the line.
func (e *LineError) Unwrap() error { return e.Err }

// readParts gives each output in a file to yield, and then what is left without a summary, if
// there is anything; cut is set if the file ends within a line, as it does when its writer was killed.
func readParts(name string, r io.Reader, s *senders, yield func(p *part, cut bool)) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 1<<16), longestLine)
	cut := false
	in.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, line, err := bufio.ScanLines(data, atEOF)
		cut = n > 0 && data[n-1] != '\n'
		return n, line, err
	})
	p, line := newPart(s), 0
	for in.Scan() {
		line++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		if p.whole {
			yield(p, false)
			p = newPart(s)
		}
		if err := p.read(in.Bytes()); err != nil {
			if cut && line > 1 {
				yield(p, true)
				return nil
			}
			return &LineError{name, line, err}
		}
		p.lines++
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return &LineError{name, line + 1, errors.New("the line is longer than any that sonde writes")}
	} else if err != nil {
		return err
	}
	if p.lines > 0 {
		yield(p, false)
	}
	return nil
}

// readers take the lines by their type.
var readers = map[string]func(*part, []byte) error{
	typeScan: (*part).readScan, typeResult: (*part).readResult, typeSilent: (*part).readPorts,
	typeUndecided: (*part).readPorts, typeHost: (*part).readHost, typeSummary: (*part).readSummary,
}

func (p *part) read(line []byte) error {
	var object struct{ Type string }
	if rest, ours := bytes.CutPrefix(line, []byte(`{"type":"`)); ours {
		name, _, _ := bytes.Cut(rest, []byte{'"'})
		object.Type = string(name)
	} else if err := json.Unmarshal(line, &object); err != nil {
		return fmt.Errorf("this is no JSON: %w", err)
	}
	read := readers[object.Type]
	if read == nil {
		return fmt.Errorf("%q is no type of line that sonde writes", object.Type)
	}
	return read(p, line)
}

// readMethod is scanLine's word read back.
func readMethod(word string) probe.Method {
	if word == probe.SYN.String() {
		return probe.SYN
	}
	return probe.Connect
}

func (p *part) readScan(line []byte) error {
	var in jsonScan
	if err := json.Unmarshal(line, &in); err != nil {
		return err
	}
	tcp, err := parsePorts(probe.TCP, in.TCP)
	if err != nil {
		return err
	}
	udp, err := parsePorts(probe.UDP, in.UDP)
	if err != nil {
		return err
	}
	p.scan = Scan{Args: in.Args, Version: in.Version, Start: in.Start, Seed: in.Seed, Shard: in.Shard, Method: readMethod(in.Method), Ports: tcp.Union(udp), Hosts: in.Hosts}
	return nil
}

func (p *part) readResult(line []byte) error {
	var in jsonResult
	if err := json.Unmarshal(line, &in); err != nil {
		return err
	}
	r, err := in.result()
	if err != nil {
		return err
	}
	if _, err := p.host(in.Addr, in.Name); err != nil {
		return err
	}
	p.put([]probe.Result{r})
	return nil
}

// result is the line as it came from the scan.
func (in *jsonResult) result() (r probe.Result, err error) {
	proto, err := protoOf(in.Proto)
	if err != nil {
		return r, err
	}
	state, ok := named(in.State, probe.Filtered, probe.Open)
	if !ok {
		return r, fmt.Errorf("%q is no state of a port", in.State)
	}
	reason, ok := named(in.Reason, probe.NoResponse, probe.LocalError)
	if !ok {
		return r, fmt.Errorf("%q is no reason that sonde knows", in.Reason)
	}
	if in.Port == 0 {
		return r, errors.New("there is no port 0")
	}
	if y := in.Time.Year(); !in.Time.IsZero() && (y < 1970 || y > 2200) {
		return r, fmt.Errorf("the year %d is none in which this was seen", y)
	}
	r = probe.Result{Target: probe.Target{AddrPort: netip.AddrPortFrom(in.Addr, in.Port), Proto: proto},
		State: state, Reason: reason, TTL: in.TTL, Attempt: in.Attempt, Time: in.Time}
	if in.From != "" {
		if r.From, err = netip.ParseAddr(in.From); err != nil {
			return r, err
		}
	}
	if in.ICMPType != nil && in.ICMPCode != nil {
		r.ICMP = probe.ICMP{Type: *in.ICMPType, Code: *in.ICMPCode}
	}
	if in.RTT != nil {
		if r.RTT, err = durationOf(*in.RTT / 1000); err != nil {
			return r, err
		}
		r.RTT = r.RTT.Round(time.Microsecond)
	}
	r.Reply = []byte(in.Banner)
	if in.BannerBytes != "" {
		r.Reply, err = base64.StdEncoding.DecodeString(in.BannerBytes)
	}
	return r, err
}

func (p *part) readPorts(line []byte) error {
	var in jsonPorts
	if err := json.Unmarshal(line, &in); err != nil {
		return err
	}
	h, err := p.host(in.Addr, in.Name)
	if err != nil {
		return err
	}
	proto, err := protoOf(in.Proto)
	if err != nil {
		return err
	}
	ports, err := parsePorts(proto, in.Ports)
	if err != nil {
		return err
	}
	if in.Type == typeUndecided {
		h.Undecided = h.Undecided.Union(ports)
		return nil
	}
	reason, ok := named(in.Reason, probe.NoResponse, probe.LocalError)
	if !ok && in.Reason != "" || !reason.Silent() {
		return fmt.Errorf("%q is no reason for silence", in.Reason)
	}
	h.Reason = weaker(h.Reason, reason, h.Silent.Len() > 0)
	h.Silent = h.Silent.Union(ports)
	h.Attempts = max(h.Attempts, in.Attempts)
	return nil
}

func (p *part) readHost(line []byte) error {
	var in jsonHost
	if err := json.Unmarshal(line, &in); err != nil {
		return err
	}
	h, err := p.host(in.Addr, in.Name)
	if err != nil {
		return err
	}
	h.PTR, h.Middlebox, h.GaveUp = in.PTR, in.Middlebox, in.GaveUp
	if in.Limited {
		h.Reason = probe.RateLimited
	}
	return nil
}

func (p *part) readSummary(line []byte) error {
	var in jsonSummary
	if err := json.Unmarshal(line, &in); err != nil {
		return err
	}
	took, err := durationOf(in.Elapsed)
	if err != nil {
		return err
	}
	p.summary = scan.Summary{
		Hosts: in.Hosts, Targets: in.Targets, Probes: in.Probes, Answered: in.Answered, Open: in.Open, Closed: in.Closed,
		Filtered: in.Filtered, OpenFiltered: in.OpenFiltered, Unanswered: in.Unanswered, Undecided: in.Undecided,
		GaveUp: in.GaveUp, Limited: in.Limited, Middleboxes: in.Middleboxes, Skipped: in.Skipped,
		Missed: in.estimate(), Elapsed: took, Complete: in.Complete,
	}
	if in.LocalError != "" {
		p.summary.LocalErr = errors.New(in.LocalError)
	}
	p.whole = true
	return nil
}

// host returns what is said of a host.
func (p *part) host(addr netip.Addr, name string) (*scan.Host, error) {
	if !addr.IsValid() {
		return nil, errors.New("the line has no address")
	}
	if name != "" {
		p.names[addr] = name
	}
	h := p.hosts[addr]
	if h == nil {
		h = &scan.Host{Addr: addr}
		p.hosts[addr] = h
	}
	return h, nil
}

// named returns the value from first to last that is written as text.
func named[T interface {
	~uint8
	String() string
}](text string, first, last T) (T, bool) {
	for v := first; v <= last; v++ {
		if v.String() == text {
			return v, true
		}
	}
	return first, false
}

func protoOf(text string) (probe.Proto, error) {
	p, ok := named(text, probe.TCP, probe.Echo)
	if !ok {
		return p, fmt.Errorf("%q is no protocol of a port", text)
	}
	return p, nil
}

func durationOf(seconds float64) (time.Duration, error) {
	if !(seconds >= 0 && seconds < 1e9) {
		return 0, fmt.Errorf("%v s is no time that passed", seconds)
	}
	return time.Duration(seconds*1e9 + 0.5), nil
}

// parsePorts reads what Ports.String writes: ascending numbers and ranges.
func parsePorts(proto probe.Proto, list string) (target.Ports, error) {
	var ports []uint16
	next := uint64(1)
	for item := range strings.SplitSeq(list, ",") {
		if list == "" {
			break
		}
		low, high, isRange := strings.Cut(item, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		last, lerr := strconv.ParseUint(high, 10, 16)
		if err != nil || lerr != nil || first < next || first > last {
			return target.Ports{}, fmt.Errorf("%q is no list of ports in ascending order", list)
		}
		for port := first; port <= last; port++ {
			ports = append(ports, uint16(port))
		}
		next = last + 1
	}
	return target.PortList(proto, ports...), nil
}
