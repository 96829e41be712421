package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
)

// foldOver is how many ports of a host, or hosts of a scan, with the same to say are shown one by one.
const foldOver = 10

// fewPorts is how many ports asked of a host each have their line, whatever they say.
const fewPorts = 3

// Text writes a table for each host of a span when the span is over, and the totals.
type Text struct {
	gathering
	options Options
	w       *bufio.Writer
	columns []column
	quiet   map[probe.Reason]*hostList // hosts that gave no answer, of all spans, by the reason of their silence
	blocks  int                        // tables and lines written so far
}

// NewText returns a Report that writes tables to w.
func NewText(w io.Writer, o Options) *Text {
	t := &Text{gathering: newGathering(), options: o, w: bufio.NewWriter(w), quiet: map[probe.Reason]*hostList{}}
	t.columns = t.columnsFor(o)
	return t
}

// Put implements scan.Sink.
func (t *Text) Put(answers []probe.Result) error {
	t.put(answers)
	return nil
}

// Span implements Report.
func (t *Text) Span(hosts uint64, each iter.Seq[scan.Host]) error {
	foldSilent := !t.options.Verbose && hosts-uint64(len(t.rows)) > foldOver
	for h := range each {
		if foldSilent && len(t.rows[h.Addr]) == 0 {
			t.addQuiet(h)
			continue
		}
		if err := t.host(h); err != nil {
			return err
		}
	}
	t.end()
	return t.w.Flush()
}

// addQuiet keeps a host that gave no answer for the end; one that was not asked to the end is in the line of totals.
func (t *Text) addQuiet(h scan.Host) {
	if h.Undecided.Len() > 0 {
		return
	}
	if t.quiet[h.Reason] == nil {
		t.quiet[h.Reason] = &hostList{}
	}
	t.quiet[h.Reason].add(h.Addr)
}

// begin puts an empty line between what is written.
func (t *Text) begin() {
	if t.blocks > 0 {
		fmt.Fprintln(t.w)
	}
	t.blocks++
}

func (t *Text) host(h scan.Host) error {
	rows := t.gathering.host(h)
	shown, folded := t.fold(h, rows)
	if t.options.OpenOnly && len(shown) == 0 && !h.Middlebox {
		return nil
	}
	t.begin()
	fmt.Fprintln(t.w, t.title(h))
	if h.Middlebox {
		fmt.Fprintln(t.w, t.middlebox(h.Addr, rows))
	}
	if err := t.table(h.Addr, shown); err != nil || t.options.OpenOnly {
		return err
	}
	mixed := of(h.Asked, probe.UDP).Len() > 0
	for _, f := range folded {
		state := f.state.String()
		if mixed {
			state = f.proto.String() + " " + state
		}
		fmt.Fprintf(t.w, "not shown: %s %s (%s)\n", commas(f.n), state, t.because(f.class))
	}
	if h.Undecided.Len() > 0 {
		fmt.Fprintf(t.w, "without a verdict: %s (%s)\n", commas(h.Undecided.Len()), whyUndecided(h))
	}
	return nil
}

func whyUndecided(h scan.Host) string {
	if h.GaveUp {
		return "given up: its time, --host-timeout, was over"
	}
	return "not asked to the end"
}

func (t *Text) middlebox(addr netip.Addr, rows []row) string {
	var n uint64
	for i := range rows {
		if rows[i].reason == probe.Middlebox {
			n++
		}
	}
	s := fmt.Sprintf("%s accepts on ports where nothing listens: something in front of it answers", addr)
	switch n {
	case 0:
		return s
	case 1:
		return s + "; 1 port is not claimed to be open"
	}
	return s + fmt.Sprintf("; %s ports are not claimed to be open", commas(n))
}

// title is what the user called the host, its address, and its name by reverse lookup.
func (t *Text) title(h scan.Host) string {
	s := h.Addr.String()
	name := t.options.Names[h.Addr]
	if name != "" && name != s {
		s = fmt.Sprintf("%s (%s)", safetext.String(name), s)
	}
	if h.PTR != "" && h.PTR != name {
		s += ", PTR " + safetext.String(h.PTR)
	}
	return s
}

// A fold is a class with too many ports to show each.
type fold struct {
	class
	n uint64
}

// fold parts the rows into those that are shown and classes that are summed up, the largest first.
func (t *Text) fold(h scan.Host, rows []row) (shown []row, folded []fold) {
	counts := map[class]uint64{}
	for i := range rows {
		counts[rows[i].class]++
	}
	foldable := func(c class) bool {
		return c.state != probe.Open && !t.options.Verbose && h.Asked.Len() > fewPorts && counts[c] > foldOver
	}
	for c, n := range counts {
		if foldable(c) {
			folded = append(folded, fold{c, n})
		}
	}
	slices.SortFunc(folded, func(a, b fold) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.proto, b.proto), cmp.Compare(a.state, b.state),
			cmp.Compare(a.reason, b.reason), cmp.Compare(a.from, b.from), cmp.Compare(a.icmp.Code, b.icmp.Code))
	})
	for _, r := range rows {
		if t.options.OpenOnly && r.state != probe.Open || foldable(r.class) {
			continue
		}
		shown = append(shown, r)
	}
	return shown, folded
}

// because is a reason in plain words.
func (t *Text) because(c class) string {
	s := c.reason.Words()
	if from := t.from(c); from != "" {
		s += ", says " + from
	}
	if t.options.Reason && c.icmp != (probe.ICMP{}) {
		s += fmt.Sprintf(", by ICMP type %d code %d", c.icmp.Type, c.icmp.Code)
	}
	return s
}

// Close implements Report.
func (t *Text) Close(s scan.Summary) error {
	if len(t.quiet) > 0 && !t.options.OpenOnly {
		t.begin()
		for _, reason := range slices.Sorted(maps.Keys(t.quiet)) {
			t.quietHosts(reason, t.quiet[reason])
		}
	}
	t.begin()
	switch {
	case s.Complete:
	case s.Undecided == 0:
		fmt.Fprintln(t.w, "INCOMPLETE: not all that was to be asked or read was")
	default:
		fmt.Fprintf(t.w, "INCOMPLETE: %s of %s without a verdict\n", commas(s.Undecided), Plural(s.Targets, "target"))
	}
	fmt.Fprintln(t.w, totals(s))
	for _, sentence := range caveats(s) {
		fmt.Fprintln(t.w, sentence)
	}
	return t.w.Flush()
}

func (t *Text) quietHosts(reason probe.Reason, l *hostList) {
	s := Plural(l.n, "host") + " gave no answer on any port"
	if reason != probe.NoResponse {
		s += fmt.Sprintf(" (%s)", reason.Words())
	}
	if !l.many {
		s += ": " + l.String()
	}
	fmt.Fprintln(t.w, s)
}
