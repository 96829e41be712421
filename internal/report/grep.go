package report

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
)

// Grep writes two lines for each host when its span is over, as nmap -oG does: its status, and its ports,
// each as number/state/protocol//service//banner/.
//
// What is not in it: silence of ports that differ in state from others that are summed up too, evidence, ports
// without a verdict. In a banner a slash becomes a bar, as in nmap's, and a
// comma an escape.
type Grep struct {
	gathering
	options Options
	w       *bufio.Writer
	hosts   uint64
}

// NewGrep returns a Report that writes grepable lines to w.
func NewGrep(w io.Writer, o Options) *Grep {
	g := &Grep{gathering: newGathering(), options: o, w: bufio.NewWriterSize(w, 1<<16)}
	if s := o.Scan; !s.Start.IsZero() {
		fmt.Fprintf(g.w, "# sonde %s scan initiated %s as: %s\n", s.Version, s.Start.Format(time.ANSIC), s.commandLine())
	}
	return g
}

// Put implements scan.Sink.
func (g *Grep) Put(answers []probe.Result) error {
	g.put(answers)
	return nil
}

// Span implements Report.
func (g *Grep) Span(hosts uint64, each iter.Seq[scan.Host]) error {
	for h := range each {
		g.host(h)
	}
	g.hosts += hosts
	g.end()
	return g.w.Flush()
}

func (g *Grep) host(h scan.Host) {
	listed, extras := sumUp(g.gathering.host(h), g.options)
	if g.options.OpenOnly && len(listed) == 0 {
		return
	}
	name := h.PTR
	if user := g.options.Names[h.Addr]; user != "" && user != h.Addr.String() {
		name = user
	}
	head := fmt.Sprintf("Host: %s (%s)", h.Addr, safetext.String(name))
	fmt.Fprintf(g.w, "%s\tStatus: Up\n", head)
	var fields []string
	if len(listed) > 0 {
		fields = append(fields, "Ports: "+strings.Join(g.ports(h, listed), ", "))
	}
	if len(extras) == 1 { // more than one nmap leaves out
		fields = append(fields, fmt.Sprintf("Ignored State: %s (%d)", extras[0].state, extras[0].count))
	}
	if len(fields) > 0 {
		fmt.Fprintf(g.w, "%s\t%s\n", head, strings.Join(fields, "\t"))
	}
}

func (g *Grep) ports(h scan.Host, rows []row) []string {
	all := make([]string, len(rows))
	for i := range rows {
		r := &rows[i]
		all[i] = fmt.Sprintf("%d/%s/%s//%s//%s/", r.port, r.state, r.proto, grepField(serviceName(r.proto, r.port)), grepField(bannerText(g.reply(h.Addr, r))))
	}
	return all
}

// grepField makes text fit between slashes and commas.
func grepField(s string) string { return strings.NewReplacer("/", "|", ",", `\x2c`).Replace(s) }

// Close implements Report.
func (g *Grep) Close(s scan.Summary) error {
	if start := g.options.Scan.Start; !start.IsZero() {
		fmt.Fprintf(g.w, "# sonde done at %s -- %s\n", start.Add(s.Elapsed).Format(time.ANSIC), scanned(g.hosts, s))
	}
	if !s.Complete {
		fmt.Fprintf(g.w, "# incomplete: %d of %d targets without a verdict\n", s.Undecided, s.Targets)
	}
	return g.w.Flush()
}

// scanned says, as nmap does, how many hosts were scanned and in which time.
func scanned(up uint64, s scan.Summary) string {
	ending := func(n uint64, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, many)
	}
	return fmt.Sprintf("%s (%s up) scanned in %.2f seconds", ending(up+s.Skipped, "IP address", "IP addresses"),
		ending(up, "host", "hosts"), s.Elapsed.Seconds())
}
