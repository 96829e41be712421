package report

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"net/netip"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// JSON writes one object a line: a result for each answer, a silent for each host with ports
// that nobody answered for, and one summary at the end. A file without a summary is not whole.
type JSON struct {
	options Options
	buf     *bufio.Writer
	enc     *json.Encoder
}

// NewJSON returns a Report that writes JSON lines to w.
func NewJSON(w io.Writer, o Options) *JSON {
	buf := bufio.NewWriterSize(w, 1<<16)
	return &JSON{options: o, buf: buf, enc: json.NewEncoder(buf)}
}

type jsonResult struct {
	Type     string     `json:"type"`
	Addr     netip.Addr `json:"addr"`
	Name     string     `json:"name,omitempty"`
	Port     uint16     `json:"port"`
	Proto    string     `json:"proto"`
	State    string     `json:"state"`
	Reason   string     `json:"reason"`
	From     string     `json:"from,omitempty"`
	ICMPType *uint8     `json:"icmp_type,omitempty"`
	ICMPCode *uint8     `json:"icmp_code,omitempty"`
	Service  string     `json:"service,omitempty"`
	RTT      *float64   `json:"rtt_ms,omitempty"`
	Attempt  uint8      `json:"attempt"`
	Time     time.Time  `json:"time"`
}

type jsonSilent struct {
	Type  string     `json:"type"`
	Addr  netip.Addr `json:"addr"`
	Name  string     `json:"name,omitempty"`
	Proto string     `json:"proto"`
	Ports string     `json:"ports"`
}

type jsonSummary struct {
	Type         string  `json:"type"`
	Hosts        uint64  `json:"hosts"`
	Targets      uint64  `json:"targets"`
	Probes       uint64  `json:"probes"`
	Answered     uint64  `json:"answered"`
	Open         uint64  `json:"open"`
	Closed       uint64  `json:"closed"`
	Filtered     uint64  `json:"filtered"`
	OpenFiltered uint64  `json:"open_filtered"`
	Unanswered   uint64  `json:"unanswered"`
	Undecided    uint64  `json:"undecided"`
	Elapsed      float64 `json:"elapsed_s"`
	Complete     bool    `json:"complete"`
	LocalError   string  `json:"local_error,omitempty"`
}

// Put implements scan.Sink.
func (j *JSON) Put(answers []probe.Result) error {
	for i := range answers {
		if j.options.OpenOnly && answers[i].State != probe.Open {
			continue
		}
		if err := j.enc.Encode(j.result(&answers[i])); err != nil {
			return err
		}
	}
	return j.buf.Flush()
}

func (j *JSON) result(r *probe.Result) *jsonResult {
	out := &jsonResult{
		Type: "result", Addr: r.Target.Addr(), Name: j.options.Names[r.Target.Addr()], Port: r.Target.Port(),
		Proto: r.Target.Proto.String(), State: r.State.String(), Reason: r.Reason.String(),
		Service: serviceName(r.Target.Proto, r.Target.Port()), Attempt: r.Attempt, Time: r.Time.UTC(),
	}
	if r.From.IsValid() {
		out.From = r.From.String()
	}
	if r.ICMP != (probe.ICMP{}) {
		out.ICMPType, out.ICMPCode = &r.ICMP.Type, &r.ICMP.Code
	}
	if r.RTT > 0 {
		ms := round(r.RTT.Seconds()*1000, 1000)
		out.RTT = &ms
	}
	return out
}

// Span implements Report.
func (j *JSON) Span(s *scan.Summary) error {
	if j.options.OpenOnly {
		return nil
	}
	for h := range s.EachHost() {
		for _, proto := range []probe.Proto{probe.TCP, probe.UDP} {
			ports := h.Silent.Where(func(p probe.Proto, _ uint16) bool { return p == proto })
			if err := j.silent(h.Addr, proto, ports); err != nil {
				return err
			}
		}
	}
	return j.buf.Flush()
}

func (j *JSON) silent(addr netip.Addr, proto probe.Proto, ports target.Ports) error {
	if ports.Len() == 0 {
		return nil
	}
	return j.enc.Encode(jsonSilent{"silent", addr, j.options.Names[addr], proto.String(), ports.String()})
}

// Close implements Report.
func (j *JSON) Close(t scan.Summary) error {
	out := jsonSummary{
		Type: "summary", Hosts: t.Hosts, Targets: t.Targets, Probes: t.Probes, Answered: t.Answered,
		Open: t.Open, Closed: t.Closed, Filtered: t.Filtered, OpenFiltered: t.OpenFiltered,
		Unanswered: t.Unanswered, Undecided: t.Undecided, Elapsed: round(t.Elapsed.Seconds(), 1e6), Complete: t.Complete,
	}
	if t.LocalErr != nil {
		out.LocalError = t.LocalErr.Error()
	}
	if err := j.enc.Encode(out); err != nil {
		return err
	}
	return j.buf.Flush()
}

// round keeps a number to 1/parts, so that what is written is not longer than what is known.
func round(x, parts float64) float64 { return math.Round(x*parts) / parts }
