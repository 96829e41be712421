package report

import (
	"encoding/base64"
	"math"
	"net/netip"
	"time"

	"sonde/internal/loss"
	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
)

// The lines of the JSON form. Each is an object whose "type" says which it is; JSON writes
// them and Merge reads them.
const (
	typeScan      = "scan"
	typeResult    = "result"
	typeSilent    = "silent"
	typeUndecided = "undecided"
	typeHost      = "host"
	typeSummary   = "summary"
)

type jsonScan struct {
	Type    string    `json:"type"`
	Version string    `json:"version"`
	Args    []string  `json:"args,omitempty"`
	Start   time.Time `json:"start"`
	Seed    uint64    `json:"seed"`
	Shard   string    `json:"shard,omitempty"`
	Method  string    `json:"method,omitempty"` // of TCP ports, where it is not connect
	TCP     string    `json:"tcp,omitempty"`
	UDP     string    `json:"udp,omitempty"`
	Hosts   uint64    `json:"hosts"`
}

// A jsonResult is an answer. Banner is safe to print; BannerBytes are the bytes, where the banner is not they.
type jsonResult struct {
	Type        string     `json:"type"`
	Addr        netip.Addr `json:"addr"`
	Name        string     `json:"name,omitempty"`
	Port        uint16     `json:"port"`
	Proto       string     `json:"proto"`
	State       string     `json:"state"`
	Reason      string     `json:"reason"`
	From        string     `json:"from,omitempty"`
	ICMPType    *uint8     `json:"icmp_type,omitempty"`
	ICMPCode    *uint8     `json:"icmp_code,omitempty"`
	Service     string     `json:"service,omitempty"`
	TTL         uint8      `json:"ttl,omitempty"`
	RTT         *float64   `json:"rtt_ms,omitempty"`
	Attempt     uint8      `json:"attempt"`
	Time        time.Time  `json:"time"`
	Banner      string     `json:"banner,omitempty"`
	BannerBytes string     `json:"banner_base64,omitempty"`
}

// A jsonPorts is what some ports of a host have in common: silence (with a state and a reason), or that there is no verdict.
type jsonPorts struct {
	Type   string     `json:"type"`
	Addr   netip.Addr `json:"addr"`
	Name   string     `json:"name,omitempty"`
	Proto  string     `json:"proto"`
	State  string     `json:"state,omitempty"`
	Reason string     `json:"reason,omitempty"`
	// Attempts is how often silent ports were asked.
	Attempts uint8  `json:"attempts,omitempty"`
	Ports    string `json:"ports"`
}

type jsonHost struct {
	Type      string     `json:"type"`
	Addr      netip.Addr `json:"addr"`
	Name      string     `json:"name,omitempty"`
	PTR       string     `json:"ptr,omitempty"`
	Middlebox bool       `json:"middlebox,omitempty"`
	GaveUp    bool       `json:"gave_up,omitempty"`
	Limited   bool       `json:"limited,omitempty"`
}

// says reports whether there is anything to say of the host.
func (h *jsonHost) says() bool { return h.PTR != "" || h.Middlebox || h.GaveUp || h.Limited }

// A jsonSummary is the last line. The three about loss are absent where nothing was heard on which to judge.
type jsonSummary struct {
	Type         string   `json:"type"`
	Hosts        uint64   `json:"hosts"`
	Targets      uint64   `json:"targets"`
	Probes       uint64   `json:"probes"`
	Answered     uint64   `json:"answered"`
	Open         uint64   `json:"open"`
	Closed       uint64   `json:"closed"`
	Filtered     uint64   `json:"filtered"`
	OpenFiltered uint64   `json:"open_filtered"`
	Unanswered   uint64   `json:"unanswered"`
	Undecided    uint64   `json:"undecided"`
	GaveUp       uint64   `json:"gave_up"`
	Limited      uint64   `json:"limited"`
	Middleboxes  uint64   `json:"middleboxes"`
	Skipped      uint64   `json:"skipped"`
	Loss         *float64 `json:"loss,omitempty"`
	Missed       *float64 `json:"expected_missed,omitempty"`
	Missed95     *float64 `json:"expected_missed_95,omitempty"`
	Elapsed      float64  `json:"elapsed_s"`
	Complete     bool     `json:"complete"`
	LocalError   string   `json:"local_error,omitempty"`
}

func scanLine(s Scan) jsonScan {
	method := ""
	if s.Method != probe.Connect {
		method = s.Method.String()
	}
	return jsonScan{
		Method: method, Type: typeScan, Version: s.Version, Args: s.Args, Start: s.Start.UTC(), Seed: s.Seed, Shard: s.Shard,
		TCP: of(s.Ports, probe.TCP).Numbers(), UDP: of(s.Ports, probe.UDP).Numbers(), Hosts: s.Hosts,
	}
}

func resultLine(r *probe.Result, name string) *jsonResult {
	line := &jsonResult{
		Type: typeResult, Addr: r.Target.Addr(), Name: name, Port: r.Target.Port(),
		Proto: r.Target.Proto.String(), State: r.State.String(), Reason: r.Reason.String(),
		Service: serviceName(r.Target.Proto, r.Target.Port()), TTL: r.TTL, Attempt: r.Attempt, Time: r.Time.UTC(),
	}
	if r.From.IsValid() {
		line.From = r.From.String()
	}
	if r.ICMP != (probe.ICMP{}) {
		line.ICMPType, line.ICMPCode = &r.ICMP.Type, &r.ICMP.Code
	}
	if r.RTT > 0 {
		ms := float64(micros(r.RTT)) / 1000
		line.RTT = &ms
	}
	line.Banner = string(safetext.Append(nil, r.Reply))
	if line.Banner != string(r.Reply) {
		line.BannerBytes = base64.StdEncoding.EncodeToString(r.Reply)
	}
	return line
}

func hostLine(h scan.Host, name string) jsonHost {
	return jsonHost{typeHost, h.Addr, name, h.PTR, h.Middlebox, h.GaveUp, h.Reason == probe.RateLimited}
}

func summaryLine(s scan.Summary) jsonSummary {
	line := jsonSummary{
		Type: typeSummary, Hosts: s.Hosts, Targets: s.Targets, Probes: s.Probes, Answered: s.Answered,
		Open: s.Open, Closed: s.Closed, Filtered: s.Filtered, OpenFiltered: s.OpenFiltered,
		Unanswered: s.Unanswered, Undecided: s.Undecided,
		GaveUp: s.GaveUp, Limited: s.Limited, Middleboxes: s.Middleboxes, Skipped: s.Skipped,
		Elapsed: round(s.Elapsed.Seconds(), 1e6), Complete: s.Complete,
	}
	if m := s.Missed; m.Known {
		line.Loss, line.Missed, line.Missed95 = rounded(m.Loss), rounded(m.Missed), rounded(m.Missed95)
	}
	if s.LocalErr != nil {
		line.LocalError = s.LocalErr.Error()
	}
	return line
}

// estimate is what the line says of loss.
func (line *jsonSummary) estimate() loss.Estimate {
	m := loss.Estimate{Answers: line.Answered}
	if line.Loss != nil && line.Missed != nil && line.Missed95 != nil {
		m.Known, m.Loss, m.Missed, m.Missed95 = true, *line.Loss, *line.Missed, *line.Missed95
	}
	return m
}

func rounded(x float64) *float64 {
	x = round(x, 1e6)
	return &x
}

// round keeps a number to 1/parts, so that what is written is not longer than what is known.
func round(x, parts float64) float64 { return math.Round(x*parts) / parts }
