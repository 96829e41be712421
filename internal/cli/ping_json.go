package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"sonde/internal/measure"
	"sonde/internal/sock"
)

// A pingJSON writes one object a line. The form is for programs: a field keeps its name and its meaning.
type pingJSON struct {
	*pinger
	started bool
	reason  string
}

func newPingJSON(p *pinger) *pingJSON { return &pingJSON{pinger: p} }

type jsonPingStart struct {
	Type        string   `json:"type"` // start
	Version     string   `json:"version"`
	Args        []string `json:"args,omitempty"`
	Host        string   `json:"host"`
	Addr        string   `json:"addr"`
	Protocol    string   `json:"protocol"` // tcp, udp, tls
	Connect     bool     `json:"connect_only,omitempty"`
	Size        int      `json:"size,omitempty"`
	Connections int      `json:"connections,omitempty"`
	Rate        *float64 `json:"rate_per_s,omitempty"` // absent: a closed loop, or a search
	Window      int      `json:"window,omitempty"`
	Timeout     float64  `json:"timeout_ms"`
	Resolve     *float64 `json:"resolve_ms,omitempty"`
	Condition   string   `json:"condition,omitempty"`
}

type jsonPingConn struct {
	Type    string   `json:"type"` // connection
	Conn    int      `json:"conn"`
	State   string   `json:"state"` // open, failed, broken, refused, damaged
	Local   string   `json:"local,omitempty"`
	Remote  string   `json:"remote,omitempty"`
	Connect *float64 `json:"connect_ms,omitempty"`
	TLS     *float64 `json:"tls_ms,omitempty"`
	Lost    uint64   `json:"lost,omitempty"`
	Error   string   `json:"error,omitempty"`
}

type jsonPingReply struct {
	Type      string          `json:"type"` // reply
	Conn      int             `json:"conn"`
	Seq       uint64          `json:"seq"`
	Fate      string          `json:"fate"` // answered, late, lost, corrupt; doubled is beside
	Latency   *float64        `json:"latency_ms,omitempty"`
	Service   *float64        `json:"service_ms,omitempty"`
	Reordered bool            `json:"reordered,omitempty"`
	Damage    *jsonPingDamage `json:"damage,omitempty"`
	Error     string          `json:"error,omitempty"`
}

type jsonPingDamage struct {
	Kind   string `json:"kind"` // changed, truncated
	Offset int    `json:"offset"`
	Stream uint64 `json:"stream_offset,omitempty"`
	Want   string `json:"want_hex,omitempty"`
	Got    string `json:"got_hex,omitempty"`
}

type jsonPingCounts struct {
	Probes    uint64  `json:"probes"`
	Answered  uint64  `json:"answered"`
	Late      uint64  `json:"late"`
	Lost      uint64  `json:"lost"`
	Corrupt   uint64  `json:"corrupt"`
	Unsent    uint64  `json:"unsent"`
	Pending   uint64  `json:"pending"`
	Doubled   uint64  `json:"doubled"`
	Reordered uint64  `json:"reordered"`
	Foreign   uint64  `json:"foreign"`
	Truncated uint64  `json:"truncated"`
	Refused   uint64  `json:"refused"`
	Broken    uint64  `json:"broken"`
	Loss      float64 `json:"loss"`
}

type jsonPingSpread struct {
	N    uint64  `json:"n"`
	Min  float64 `json:"min_ms"`
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p99_9_ms"`
	Max  float64 `json:"max_ms"`
}

type jsonPingSummary struct {
	Type string `json:"type"` // summary
	jsonPingCounts
	Latency     *jsonPingSpread `json:"latency,omitempty"` // absent in a closed loop
	Service     *jsonPingSpread `json:"service,omitempty"`
	Connect     *jsonPingSpread `json:"connect,omitempty"`
	TLS         *jsonPingSpread `json:"tls,omitempty"`
	FirstByte   *jsonPingSpread `json:"first_byte,omitempty"`
	Jitter      float64         `json:"jitter_ms"`
	Elapsed     float64         `json:"elapsed_s"`
	Asked       float64         `json:"asked_per_s,omitempty"`
	Sent        float64         `json:"sent_per_s"`
	Bytes       uint64          `json:"bytes_verified"`
	Stalled     float64         `json:"stalled_ms,omitempty"`
	Held        float64         `json:"held_ms,omitempty"`
	Dropped     uint64          `json:"dropped_here,omitempty"`
	Histogram   []jsonPingBar   `json:"histogram,omitempty"`
	Interrupted bool            `json:"interrupted,omitempty"`
}

type jsonPingBar struct {
	From float64 `json:"from_ms"`
	To   float64 `json:"to_ms"`
	N    uint64  `json:"n"`
}

type jsonPingStep struct {
	Type    string   `json:"type"` // step
	Rate    float64  `json:"rate_per_s"`
	Sent    float64  `json:"sent_per_s"`
	Kept    bool     `json:"kept"`
	Limited bool     `json:"limited_here,omitempty"`
	Again   bool     `json:"again,omitempty"`
	Value   *float64 `json:"value_ms,omitempty"` // of what the condition looks at; absent: endless, or it is the loss
	Loss    float64  `json:"loss"`
}

type jsonPingFound struct {
	Type      string  `json:"type"` // found
	Condition string  `json:"condition"`
	Rate      float64 `json:"rate_per_s"` // 0: none
	Limited   bool    `json:"limited_here"`
	Steps     int     `json:"steps"`
}

// milliseconds keeps nanoseconds, and no more digits than they have.
func milliseconds(d time.Duration) float64 { return math.Round(float64(d)) / 1e6 }

func inMilliseconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := milliseconds(d)
	return &ms
}

func (j *pingJSON) write(object any) {
	e := json.NewEncoder(j.out)
	e.SetEscapeHTML(false)
	_ = e.Encode(object) // a reader that went away is no failure of the measurement
}

func (j *pingJSON) start(addr string) {
	if j.started {
		return
	}
	j.started = true
	s := jsonPingStart{
		Type: "start", Version: version(), Args: j.args, Host: j.host, Addr: addr, Protocol: map[string]string{"TCP": "tcp", "UDP": "udp", "TLS": "tls"}[j.protocol()],
		Connect: j.connect, Connections: j.connections, Timeout: milliseconds(j.timeout), Resolve: inMilliseconds(j.resolved),
	}
	if !j.connect {
		s.Size = j.size
	}
	if rate := j.perSecond(); rate > 0 && j.search == "" {
		s.Rate = &rate
	} else if j.closed() {
		s.Window = j.window
	}
	if j.search != "" {
		s.Condition = j.condition.String()
	}
	j.write(s)
}

func (j *pingJSON) event(e measure.Event) {
	c := jsonPingConn{Type: "connection", Conn: e.Conn, Lost: e.Lost}
	if e.Err != nil {
		c.Error = e.Err.Error()
	}
	switch e.Kind {
	case measure.Opened:
		j.start(e.Remote.String())
		c.State, c.Local, c.Remote = "open", e.Local.String(), e.Remote.String()
		c.Connect, c.TLS = inMilliseconds(e.Phases.Connect), inMilliseconds(e.Phases.TLS)
	case measure.NotOpen:
		c.State, j.reason = "failed", c.Error
		if addr, err := netip.ParseAddr(j.host); err == nil {
			j.start(netip.AddrPortFrom(addr, j.port).String())
		}
	case measure.Broken:
		c.State, c.Error = "broken", brokenBy(e.Err)
	case measure.Refused:
		c.State = "refused"
	case measure.Damaged:
		c.State = "damaged"
	}
	if j.search == "" {
		j.write(c)
	}
}

func (j *pingJSON) reply(r measure.Reply) {
	line := jsonPingReply{Type: "reply", Conn: r.Conn, Seq: r.Seq, Fate: r.Fate.String(), Reordered: r.Reordered}
	if r.Fate != measure.Lost {
		line.Latency, line.Service = inMilliseconds(r.Latency), inMilliseconds(r.Service)
	} else if j.connect {
		line.Error = j.reason
	}
	if d := r.Damage; d != nil {
		line.Damage = &jsonPingDamage{Kind: d.Kind.String(), Offset: d.Offset, Stream: d.Stream, Want: fmt.Sprintf("%x", d.Want), Got: fmt.Sprintf("%x", d.Got)}
	}
	j.write(line)
}

func (j *pingJSON) progress(measure.Counts) {}

func jsonSpread(d *measure.Distribution) *jsonPingSpread {
	if d.N() == 0 {
		return nil
	}
	p := func(p float64) float64 { return milliseconds(d.Percentile(p)) }
	return &jsonPingSpread{N: d.N(), Min: milliseconds(d.Min()), Mean: milliseconds(d.Mean()), P50: p(50), P90: p(90), P99: p(99), P999: p(99.9), Max: milliseconds(d.Max())}
}

func (j *pingJSON) summary(r *measure.Report) {
	c := r.Counts
	s := jsonPingSummary{
		Type: "summary",
		jsonPingCounts: jsonPingCounts{
			Probes: c.Probes, Answered: c.Answered, Late: c.Late, Lost: c.Lost, Corrupt: c.Corrupt, Unsent: c.Unsent, Pending: c.Pending,
			Doubled: c.Doubled, Reordered: c.Reordered, Foreign: c.Foreign, Truncated: c.Truncated, Refused: c.Refused, Broken: c.Broken, Loss: c.Loss(),
		},
		Latency: jsonSpread(r.Latency), Service: jsonSpread(r.Service), Connect: jsonSpread(r.Connect), TLS: jsonSpread(r.TLS), FirstByte: jsonSpread(r.FirstByte),
		Jitter: milliseconds(r.Jitter), Elapsed: r.Elapsed.Seconds(), Asked: r.Asked, Sent: r.Achieved, Bytes: r.Bytes,
		Stalled: milliseconds(r.Stalled), Held: milliseconds(r.Held), Dropped: r.Dropped, Interrupted: r.Interrupted,
	}
	if r.Asked == 0 {
		s.Latency = nil
	}
	if j.histogram {
		for _, b := range r.Latency.Buckets() {
			s.Histogram = append(s.Histogram, jsonPingBar{milliseconds(b.From), milliseconds(b.To), b.N})
		}
	}
	j.write(s)
}

func (j *pingJSON) step(s measure.Step) {
	value, loss := j.condition.Value(s.Report)
	line := jsonPingStep{Type: "step", Rate: s.Rate, Sent: s.Report.Achieved, Kept: s.Kept, Limited: s.Limited, Again: s.Again, Loss: loss}
	if j.condition.What != "loss" && value != measure.Forever {
		line.Value = inMilliseconds(value)
	}
	j.write(line)
}

func (j *pingJSON) found(f measure.Finding) {
	j.write(jsonPingFound{Type: "found", Condition: j.condition.String(), Rate: f.Rate, Limited: f.Limited, Steps: f.Steps})
}

// brokenBy words what ended a connection before its time.
func brokenBy(err error) string {
	switch sock.EndingOf(err) {
	case sock.ByPeer:
		return "was closed by the peer (FIN)"
	case sock.Reset:
		return "was reset by the peer (RST)"
	case sock.TimedOut:
		return "timed out: the peer answers no more"
	}
	var inner interface{ Unwrap() error }
	if errors.As(err, &inner) && inner.Unwrap() != nil {
		err = inner.Unwrap()
	}
	return fmt.Sprintf("ended: %v", err)
}
