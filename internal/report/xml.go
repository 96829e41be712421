package report

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"iter"
	"time"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
)

// XML writes what programs that read nmap's XML understand: a host element for each host when its span is over, and
// the totals at the end. It is a whole document after Close, also when the scan was interrupted
// (the exit attribute is then "error").
//
// Every host that was asked counts as up, as with nmap -Pn; those skipped because they did not answer count as down.
// Ports without a verdict are left out.
type XML struct {
	gathering
	options Options
	buf     *bufio.Writer
	enc     *xml.Encoder
	hosts   uint64
}

// NewXML returns a Report that writes XML to w.
func NewXML(w io.Writer, o Options) *XML {
	buf := bufio.NewWriterSize(w, 1<<16)
	x := &XML{gathering: newGathering(), options: o, buf: buf, enc: xml.NewEncoder(buf)}
	// What fails here fails again when the document is closed: buf keeps its error.
	_, _ = buf.WriteString(xml.Header + "<!DOCTYPE nmaprun>\n<!-- written by sonde in the form of nmap, whose DTD knows no other scanner -->\n")
	_ = x.begin()
	return x
}

var xmlRoot = xml.Name{Local: "nmaprun"}

func (x *XML) begin() error {
	s := x.options.Scan
	root := xml.StartElement{Name: xmlRoot, Attr: []xml.Attr{
		attr("scanner", "nmap"), attr("args", s.commandLine()), attr("start", fmt.Sprint(unix(s.Start))),
		attr("startstr", ansic(s.Start)), attr("version", s.Version), attr("xmloutputversion", "1.05"),
	}}
	if err := x.enc.EncodeToken(root); err != nil {
		return err
	}
	for _, proto := range protos {
		if ports := of(s.Ports, proto); ports.Len() > 0 {
			if err := x.element(xmlScanInfo{Type: nmapScan(proto, x.options.Scan.Method), Proto: proto.String(), N: ports.Len(), Services: ports.Numbers()}); err != nil {
				return err
			}
		}
	}
	level := 0
	if x.options.Verbose {
		level = 1
	}
	if err := x.element(xmlVerbose{Level: level}); err != nil {
		return err
	}
	return x.element(xmlDebugging{})
}

// nmapScan is what nmap calls a scan like ours.
func nmapScan(proto probe.Proto, method probe.Method) string {
	switch {
	case proto == probe.UDP:
		return "udp"
	case method == probe.SYN:
		return "syn"
	}
	return "connect"
}

func attr(name, value string) xml.Attr {
	return xml.Attr{Name: xml.Name{Local: name}, Value: value}
}

// element writes an element on a line of its own.
func (x *XML) element(v any) error {
	if err := x.enc.EncodeToken(xml.CharData("\n")); err != nil {
		return err
	}
	return x.enc.Encode(v)
}

// Put implements scan.Sink.
func (x *XML) Put(answers []probe.Result) error {
	x.put(answers)
	return nil
}

// Span implements Report.
func (x *XML) Span(hosts uint64, each iter.Seq[scan.Host]) error {
	for h := range each {
		if err := x.host(h); err != nil {
			return err
		}
	}
	x.hosts += hosts
	x.end()
	return x.flush()
}

func (x *XML) host(h scan.Host) error {
	rows := x.gathering.host(h)
	listed, extras := sumUp(rows, x.options)
	if x.options.OpenOnly && len(listed) == 0 {
		return nil
	}
	out := xmlHost{
		Status:  x.status(rows),
		Address: xmlAddress{h.Addr.String(), addrType(h)},
		Names:   x.names(h),
	}
	out.Start, out.End = times(rows)
	if h.GaveUp {
		out.TimedOut = "true"
	}
	if h.Middlebox {
		out.Comment = "accepts on ports where nothing listens: something in front of it answers"
	}
	for _, e := range extras {
		out.Ports.Extra = append(out.Ports.Extra, xmlExtra(e))
	}
	for i := range listed {
		out.Ports.Port = append(out.Ports.Port, x.port(h, &listed[i]))
	}
	return x.element(out)
}

// status says how it is known that a host is up: by the first of its ports that answered for
// itself, or by the user's word.
func (x *XML) status(rows []row) xmlStatus {
	for i := range rows {
		if r := &rows[i]; r.seq > 0 && r.from == 0 && r.reason != probe.Middlebox {
			return xmlStatus{"up", r.reason.String(), r.ttl}
		}
	}
	return xmlStatus{"up", "user-set", 0}
}

func (x *XML) names(h scan.Host) (names xmlNames) {
	if name := x.options.Names[h.Addr]; name != "" && name != h.Addr.String() {
		names.Name = append(names.Name, xmlName{safetext.String(name), "user"})
	}
	if h.PTR != "" {
		names.Name = append(names.Name, xmlName{safetext.String(h.PTR), "PTR"})
	}
	return names
}

func (x *XML) port(h scan.Host, r *row) xmlPort {
	p := xmlPort{Proto: r.proto.String(), Port: r.port, State: xmlState{xmlStatus{r.state.String(), r.reason.String(), r.ttl}, x.from(r.class)}}
	if name := serviceName(r.proto, r.port); name != "" {
		p.Service = &xmlService{Name: name, Method: "table", Conf: 3}
	}
	if reply := x.reply(h.Addr, r); len(reply) > 0 {
		p.Script = &xmlScript{"banner", bannerText(reply)}
	}
	return p
}

// Close implements Report.
func (x *XML) Close(s scan.Summary) error {
	end := time.Time{}
	if start := x.options.Scan.Start; !start.IsZero() {
		end = start.Add(s.Elapsed)
	}
	stats := xmlStats{Hosts: xmlHosts{Up: x.hosts, Down: s.Skipped, Total: x.hosts + s.Skipped}}
	stats.Finished = xmlFinished{Time: unix(end), TimeStr: ansic(end), Elapsed: fmt.Sprintf("%.2f", s.Elapsed.Seconds()), Exit: "success",
		Summary: doneAt(end) + "; " + scanned(x.hosts, s)}
	if !s.Complete {
		stats.Finished.Exit = "error"
		stats.Finished.Error = fmt.Sprintf("incomplete: %d of %d targets without a verdict", s.Undecided, s.Targets)
	}
	if err := x.element(stats); err != nil {
		return err
	}
	if err := x.enc.EncodeToken(xml.CharData("\n")); err != nil {
		return err
	}
	if err := x.enc.EncodeToken(xml.EndElement{Name: xmlRoot}); err != nil {
		return err
	}
	if err := x.enc.EncodeToken(xml.CharData("\n")); err != nil {
		return err
	}
	return x.flush()
}

func (x *XML) flush() error {
	if err := x.enc.Flush(); err != nil {
		return err
	}
	return x.buf.Flush()
}

func doneAt(t time.Time) string {
	if t.IsZero() {
		return "sonde done"
	}
	return "sonde done at " + ansic(t)
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func ansic(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.ANSIC)
}
