package cli

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"time"

	"sonde/internal/measure"
	"sonde/internal/sock"
)

// A pingJSON writes one object a line. The form is for programs: a field keeps its name and its meaning.
type pingJSON struct {
	*pinger
	started bool
}

func newPingJSON(p *pinger) *pingJSON { return &pingJSON{pinger: p} }

func jsonEnd(err error) jsonPingEnd {
	if err == nil {
		return jsonPingEnd{}
	}
	end := jsonPingEnd{Ending: reason(err), Error: err.Error()}
	var alien *measure.StrangerError
	if errors.As(err, &alien) {
		end.Error, end.Got = "what came back is nothing that was sent", hex.EncodeToString(alien.Got)
	}
	return end
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

func (j *pingJSON) start() {
	if j.started {
		return
	}
	j.started = true
	addr := ""
	if j.addr.IsValid() {
		addr = j.addr.String()
	}
	s := jsonPingStart{
		Type: "start", Version: version(), Args: j.args, Host: j.host, Addr: addr, Protocol: map[string]string{"TCP": "tcp", "UDP": "udp", "TLS": "tls"}[j.protocol()],
		Connect: j.connect, Connections: j.connections, Timeout: milliseconds(j.timeout), Resolve: inMilliseconds(j.resolved),
	}
	if !j.connect {
		s.Size = int(j.size)
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
	j.start()
	c := jsonPingConn{Type: "connection", Conn: e.Conn, Lost: e.Lost, jsonPingEnd: jsonEnd(e.Err)}
	switch e.Kind {
	case measure.Opened:
		c.State, c.Local, c.Remote = "open", e.Local.String(), e.Remote.String()
		c.Connect, c.TLS = inMilliseconds(e.Phases.Connect), inMilliseconds(e.Phases.TLS)
	case measure.NotOpen:
		c.State = "failed"
	case measure.Broken:
		c.State, c.Ending, c.Error = "broken", reason(e.Err), "the connection "+brokenBy(e.Err)
	case measure.Refused:
		c.State = "refused"
	case measure.Damaged:
		c.State, c.Ending = "damaged", ""
	}
	if j.search == "" {
		j.write(c)
	}
}

func (j *pingJSON) reply(r measure.Reply) {
	line := jsonPingReply{Type: "reply", Conn: r.Conn, Seq: r.Seq, Fate: r.Fate.String(), Reordered: r.Reordered}
	switch r.Fate {
	case measure.Lost, measure.Unsent:
		line.Reason, line.Error = lostBecause(r.Err)
	default:
		line.Latency, line.Service = inMilliseconds(r.Latency), inMilliseconds(r.Service)
	}
	if d := r.Damage; d != nil {
		want, got := d.Shown()
		line.Damage = &jsonPingDamage{Kind: d.Kind.String(), Offset: d.Offset, Stream: d.Stream, Want: hex.EncodeToString(want), Got: hex.EncodeToString(got)}
	}
	j.write(line)
}

// lostBecause says why a probe is lost or unsent; without an error because nothing came.
func lostBecause(err error) (word, words string) {
	if err == nil {
		return sock.TimedOut.String(), ""
	}
	if word = reason(err); word == sock.ByPeer.String() || word == sock.Reset.String() {
		return word, "the connection " + brokenBy(err)
	}
	return word, err.Error()
}

func (j *pingJSON) progress(measure.Counts) {}

func jsonSpread(d *measure.Distribution) *jsonPingSpread {
	if d.N() == 0 {
		return nil
	}
	p := func(p float64) float64 { return milliseconds(d.Percentile(p)) }
	return &jsonPingSpread{N: d.N(), Min: milliseconds(d.Min()), Mean: milliseconds(d.Mean()), P50: p(50), P90: p(90), P99: p(99), P999: p(99.9), Max: milliseconds(d.Max())}
}

func (j *pingJSON) summary(r *measure.Report, err error) {
	j.start()
	c := r.Counts
	s := jsonPingSummary{
		Type: "summary",
		jsonPingCounts: jsonPingCounts{
			Probes: c.Probes, Answered: c.Answered, Late: c.Late, Lost: c.Lost, Corrupt: c.Corrupt, Unsent: c.Unsent, Pending: c.Pending,
			Doubled: c.Doubled, Reordered: c.Reordered, Foreign: c.Foreign, Truncated: c.Truncated, Refused: c.Refused, Broken: c.Broken,
			Closed: r.Closed, Down: r.Down, Loss: c.Loss(), Failed: c.Failed(),
		},
		Latency: jsonSpread(r.Latency), Service: jsonSpread(r.Service), Connect: jsonSpread(r.Connect), TLS: jsonSpread(r.TLS), FirstByte: jsonSpread(r.FirstByte),
		Elapsed: r.Elapsed.Seconds(), Asked: r.Asked, Sent: r.Achieved, Bytes: r.Bytes,
		Stalled: milliseconds(r.Stalled), Held: milliseconds(r.Held), Dropped: r.Dropped, Interrupted: r.Interrupted, jsonPingEnd: jsonEnd(err),
	}
	if r.JitterOf > 0 {
		jitter := milliseconds(r.Jitter)
		s.Jitter = &jitter
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
	value, _ := j.condition.Value(s.Report)
	line := jsonPingStep{Type: "step", Rate: s.Rate, Sent: s.Report.Achieved, Kept: s.Kept, Limited: s.Limited, Again: s.Again,
		Probes: s.Report.Probes, Loss: s.Report.Loss(), Failed: s.Report.Failed()}
	if !j.condition.OfShare() && value != measure.Forever {
		line.Value = inMilliseconds(value)
	}
	j.write(line)
}

func (j *pingJSON) found(f measure.Finding, err error) {
	j.start()
	end := jsonEnd(err)
	j.write(jsonPingFound{Type: "found", Condition: j.condition.String(), Rate: f.Rate, NotKept: f.NotKept, Limited: f.Limited, Steps: f.Steps,
		Interrupted: end.Ending == "interrupted", jsonPingEnd: end})
}
