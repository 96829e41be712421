package report

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"
	"net/netip"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// JSON writes one object a line: first the scan, if Options say how it was begun; a result for each answer, as
// they come; of each host, when its span is over, what is known of it as a whole, the ports that nobody answered for and
// those without a verdict; and one summary at the end. A file without a summary is not whole.
type JSON struct {
	options Options
	buf     *bufio.Writer
	enc     *json.Encoder
	open    map[netip.Addr]bool // with OpenOnly: the hosts of the span that are shown
}

// NewJSON returns a Report that writes JSON lines to w.
func NewJSON(w io.Writer, o Options) *JSON {
	buf := bufio.NewWriterSize(w, 1<<16)
	j := &JSON{options: o, buf: buf, enc: json.NewEncoder(buf), open: map[netip.Addr]bool{}}
	if !o.Scan.Start.IsZero() {
		_ = j.enc.Encode(scanLine(o.Scan)) // buf keeps its error for the next write
	}
	return j
}

// Put implements scan.Sink.
func (j *JSON) Put(answers []probe.Result) error {
	for i := range answers {
		r := &answers[i]
		if !j.shows(r) {
			continue
		}
		if err := j.enc.Encode(resultLine(r, j.options.Names[r.Target.Addr()])); err != nil {
			return err
		}
	}
	return j.buf.Flush()
}

// shows reports whether a result is written. What takes back an open port always is.
func (j *JSON) shows(r *probe.Result) bool {
	if !j.options.OpenOnly {
		return true
	}
	if r.State != probe.Open && r.Reason != probe.Middlebox {
		return false
	}
	j.open[r.Target.Addr()] = true
	return true
}

// Span implements Report.
func (j *JSON) Span(_ uint64, each iter.Seq[scan.Host]) error {
	for h := range each {
		if err := j.host(h); err != nil {
			return err
		}
	}
	clear(j.open)
	return j.buf.Flush()
}

func (j *JSON) host(h scan.Host) error {
	name := j.options.Names[h.Addr]
	if j.options.OpenOnly && !j.open[h.Addr] {
		return nil
	}
	if line := hostLine(h, name); line.says() {
		if err := j.enc.Encode(line); err != nil {
			return err
		}
	}
	if j.options.OpenOnly {
		return nil
	}
	for _, proto := range protos {
		silent := jsonPorts{Type: typeSilent, State: silentState(proto).String(), Reason: h.Reason.String(), Attempts: h.Attempts}
		if err := j.ports(silent, h.Addr, name, proto, h.Silent); err != nil {
			return err
		}
		if err := j.ports(jsonPorts{Type: typeUndecided}, h.Addr, name, proto, h.Undecided); err != nil {
			return err
		}
	}
	return nil
}

// ports writes line for those of the ports that are of one protocol, if there are any.
func (j *JSON) ports(line jsonPorts, addr netip.Addr, name string, proto probe.Proto, ports target.Ports) error {
	if ports = of(ports, proto); ports.Len() == 0 {
		return nil
	}
	line.Addr, line.Name, line.Proto, line.Ports = addr, name, proto.String(), ports.Numbers()
	return j.enc.Encode(line)
}

// Close implements Report.
func (j *JSON) Close(total scan.Summary) error {
	if err := j.enc.Encode(summaryLine(total)); err != nil {
		return err
	}
	return j.buf.Flush()
}
