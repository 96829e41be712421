// Package report writes what a scan found: as a table for people, as JSON lines, CSV, and nmap's XML and grepable
// forms for programs; and it reads the JSON lines again, to join and convert them.
//
// A Report takes answers as they come, what else there is to say of a host when its span is over, and the
// sum at the end. It writes to the io.Writer it was made with, never closes it, and returns its errors. One
// goroutine uses it.
//
// A target may be reported more than once: the last result counts.
package report

import (
	"io"
	"iter"
	"net/netip"
	"strings"
	"time"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
	"sonde/internal/service"
	"sonde/internal/target"
)

// A Report is one form in which results are written.
type Report interface {
	scan.Sink
	// Span says that a span of the scan is over, so that its hosts are known whole: how many there are, and each, ascending.
	Span(hosts uint64, each iter.Seq[scan.Host]) error
	// Close says that the scan is over, and what it came to.
	Close(total scan.Summary) error
}

// Options say what is shown. The zero value shows all, in black and white.
type Options struct {
	OpenOnly bool                  // open ports only
	Verbose  bool                  // sum up nothing
	Reason   bool                  // text: every piece of evidence in a column of its own
	Color    bool                  // open ports stand out; for terminals
	Names    map[netip.Addr]string // what the user called an address
	Scan     Scan                  // for the headers; without a Start there are none in JSON and grep
}

// A Scan is how a scan was begun: what a report's header says.
type Scan struct {
	Args    []string     // the command line, without the program's name
	Version string       // of the program
	Start   time.Time    // zero: nothing of all this is known
	Seed    uint64       // of the order of probing
	Shard   string       // "1/4"; empty: the whole
	Method  probe.Method // of TCP ports
	Ports   target.Ports // asked of any host
	Hosts   uint64
}

// commandLine returns what was typed, on one line and safe to print.
func (s Scan) commandLine() string {
	return safetext.String(strings.Join(append([]string{"sonde"}, s.Args...), " "))
}

// A format is a form of report by the name that users give it.
type format struct {
	name string
	make func(io.Writer, Options) Report
}

var formats = [...]format{
	{"text", func(w io.Writer, o Options) Report { return NewText(w, o) }},
	{"json", func(w io.Writer, o Options) Report { return NewJSON(w, o) }},
	{"csv", func(w io.Writer, o Options) Report { return NewCSV(w, o) }},
	{"xml", func(w io.Writer, o Options) Report { return NewXML(w, o) }},
	{"grep", func(w io.Writer, o Options) Report { return NewGrep(w, o) }},
}

// Formats returns the names of all formats, the one for people first.
func Formats() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.name
	}
	return names
}

// New returns a Report in the named format that writes to w, and false for a name that Formats has not.
func New(name string, w io.Writer, o Options) (Report, bool) {
	for _, f := range formats {
		if f.name == name {
			return f.make(w, o), true
		}
	}
	return nil, false
}

func serviceName(proto probe.Proto, port uint16) string {
	if proto != probe.TCP && proto != probe.UDP {
		return ""
	}
	return service.Name(port, proto == probe.UDP)
}

// protos are those that ports belong to.
var protos = [...]probe.Proto{probe.TCP, probe.UDP}

// of returns the ports of one protocol.
func of(p target.Ports, proto probe.Proto) target.Ports {
	return p.Where(func(q probe.Proto, _ uint16) bool { return q == proto })
}

// silentState is the verdict on a port that nobody answered for: UDP servers may be silent.
func silentState(proto probe.Proto) probe.State {
	if proto == probe.UDP {
		return probe.OpenFiltered
	}
	return probe.Filtered
}
