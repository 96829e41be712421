package report

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
)

// foldOver is how many ports of a host, or hosts of a scan, with the same to say are shown one by one.
const foldOver = 10

// fewPorts is how many ports asked of a host each have their line, whatever they say.
const fewPorts = 3

// Text writes a table for each host of a span when the span is over, and one line of totals.
type Text struct {
	options Options
	w       *bufio.Writer
	rows    map[netip.Addr][]row
	senders []netip.Addr // of ICMP errors, numbered from 1
	number  map[netip.Addr]uint32
	quiet   hostList // hosts that gave no answer, of all spans
	blocks  int      // tables and lines written so far
}

// NewText returns a Report that writes tables to w.
func NewText(w io.Writer, o Options) *Text {
	return &Text{options: o, w: bufio.NewWriter(w), rows: map[netip.Addr][]row{}, number: map[netip.Addr]uint32{}}
}

// A row is a port's answer, kept small: a span may have millions.
type row struct {
	port uint16
	class
	micros uint32 // the round trip; 0 if unknown
}

// A class is what ports of a host may have in common.
type class struct {
	proto  probe.Proto
	state  probe.State
	reason probe.Reason
	from   uint32 // number of the sender; 0: the target itself
}

// Put implements scan.Sink.
func (t *Text) Put(answers []probe.Result) error {
	for i := range answers {
		r := &answers[i]
		addr := r.Target.Addr()
		t.rows[addr] = append(t.rows[addr], row{
			port:   r.Target.Port(),
			class:  class{r.Target.Proto, r.State, r.Reason, t.sender(r.From)},
			micros: uint32(min(r.RTT/time.Microsecond, 1<<32-1)),
		})
	}
	return nil
}

func (t *Text) sender(from netip.Addr) uint32 {
	if !from.IsValid() {
		return 0
	}
	n, ok := t.number[from]
	if !ok {
		t.senders = append(t.senders, from)
		n = uint32(len(t.senders))
		t.number[from] = n
	}
	return n
}

// Span implements Report.
func (t *Text) Span(s *scan.Summary) error {
	foldSilent := !t.options.Verbose && s.Hosts-uint64(len(t.rows)) > foldOver
	for h := range s.EachHost() {
		rows := t.rows[h.Addr]
		if foldSilent && len(rows) == 0 {
			if h.Undecided == 0 { // what was not asked to the end is in the line of totals
				t.quiet.add(h.Addr)
			}
			continue
		}
		if err := t.host(h, rows); err != nil {
			return err
		}
	}
	clear(t.rows)
	return t.w.Flush()
}

// begin puts an empty line between what is written.
func (t *Text) begin() {
	if t.blocks > 0 {
		fmt.Fprintln(t.w)
	}
	t.blocks++
}

func (t *Text) host(h scan.Host, rows []row) error {
	rows = t.complete(h, rows)
	shown, folded := t.fold(h, rows)
	if t.options.OpenOnly {
		if folded = nil; len(shown) == 0 {
			return nil
		}
	}
	t.begin()
	fmt.Fprintln(t.w, t.title(h.Addr))
	if len(shown) > 0 {
		if err := t.table(shown); err != nil {
			return err
		}
	}
	for _, f := range folded {
		fmt.Fprintf(t.w, "not shown: %s %s (%s)\n", commas(f.n), f.state, t.because(f.class))
	}
	if h.Undecided > 0 && !t.options.OpenOnly {
		fmt.Fprintf(t.w, "without a verdict: %s (not asked to the end)\n", commas(h.Undecided))
	}
	return nil
}

func (t *Text) title(addr netip.Addr) string {
	if name := t.options.Names[addr]; name != "" && name != addr.String() {
		return fmt.Sprintf("%s (%s)", safetext.String(name), addr)
	}
	return addr.String()
}

// complete adds the silent ports, sorts, and keeps of a port that answered twice the better answer.
func (t *Text) complete(h scan.Host, rows []row) []row {
	h.Silent.Where(func(proto probe.Proto, port uint16) bool {
		rows = append(rows, row{port: port, class: class{proto: proto, state: probe.Filtered, reason: probe.NoResponse}})
		return false
	})
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), cmp.Compare(a.port, b.port), cmp.Compare(b.state, a.state))
	})
	return slices.CompactFunc(rows, func(a, b row) bool { return a.proto == b.proto && a.port == b.port })
}

// A fold is a class with too many ports to show each.
type fold struct {
	class
	n uint64
}

// fold parts the rows into those that are shown and classes that are summed up, the largest first.
func (t *Text) fold(h scan.Host, rows []row) (shown []row, folded []fold) {
	counts := map[class]uint64{}
	for _, r := range rows {
		counts[r.class]++
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
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.state, b.state), cmp.Compare(a.reason, b.reason), cmp.Compare(a.from, b.from))
	})
	for _, r := range rows {
		if t.options.OpenOnly && r.state != probe.Open || foldable(r.class) {
			continue
		}
		shown = append(shown, r)
	}
	return shown, folded
}

func (t *Text) table(rows []row) error {
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "PORT\t%s\tSERVICE\tREASON\tRTT\n", t.paint("STATE", false))
	for _, r := range rows {
		fmt.Fprintf(tw, "%d/%s\t%s\t%s\t%s\t%s\n", r.port, r.proto, t.paint(r.state.String(), r.state == probe.Open),
			serviceName(r.proto, r.port), t.reason(r.class), rtt(r.micros))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(table.Bytes()) { // a missing last cell leaves blanks
		if _, err := fmt.Fprintf(t.w, "%s\n", bytes.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// paint makes a state stand out on a terminal. Every cell of the column has as many invisible
// bytes, since the table counts them.
func (t *Text) paint(s string, bright bool) string {
	switch {
	case !t.options.Color:
		return s
	case bright:
		return "\x1b[32m" + s + "\x1b[0m"
	}
	return "\x1b[39m" + s + "\x1b[0m"
}

func (t *Text) reason(c class) string {
	if c.from == 0 {
		return c.reason.String()
	}
	return fmt.Sprintf("%s from %s", c.reason, t.senders[c.from-1])
}

// because is reason in plain words.
func (t *Text) because(c class) string {
	if c.from == 0 {
		return c.reason.Words()
	}
	return fmt.Sprintf("%s, says %s", c.reason.Words(), t.senders[c.from-1])
}

func rtt(micros uint32) string {
	switch {
	case micros == 0:
		return ""
	case micros < 10_000:
		return fmt.Sprintf("%.2f ms", float64(micros)/1000)
	}
	return fmt.Sprintf("%.0f ms", float64(micros)/1000)
}

// Close implements Report.
func (t *Text) Close(s scan.Summary) error {
	if t.quiet.n > 0 && !t.options.OpenOnly {
		t.begin()
		fmt.Fprintln(t.w, t.quiet.String())
	}
	t.begin()
	if !s.Complete {
		fmt.Fprintf(t.w, "INCOMPLETE: %s of %s without a verdict\n", commas(s.Undecided), plural(s.Targets, "target"))
	}
	fmt.Fprintf(t.w, "%s, %s: %s open, %s closed, %s filtered", plural(s.Hosts, "host"), plural(s.Targets, "port"),
		commas(s.Open), commas(s.Closed), commas(s.Filtered))
	if s.Unanswered > 0 {
		fmt.Fprintf(t.w, " (%s silent)", commas(s.Unanswered))
	}
	fmt.Fprintf(t.w, "; %s in %s\n", plural(s.Probes, "probe"), elapsed(s.Elapsed))
	return t.w.Flush()
}

func elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// A hostList sums up the hosts that gave no answer at all. They come in any order; where they
// make more ranges than anybody would read, only their number is kept.
type hostList struct {
	n      uint64
	ranges []addrRange
	many   bool // too many ranges to keep
}

type addrRange struct{ first, last netip.Addr }

const mostRanges = 1 << 16

func (l *hostList) add(a netip.Addr) {
	l.n++
	if l.many {
		return
	}
	if n := len(l.ranges); n > 0 && l.ranges[n-1].last.Next() == a {
		l.ranges[n-1].last = a
		return
	}
	if l.ranges = append(l.ranges, addrRange{a, a}); len(l.ranges) > mostRanges {
		if l.join(); len(l.ranges) > mostRanges/2 {
			l.ranges, l.many = nil, true
		}
	}
}

// join sorts the ranges and makes one of those that touch.
func (l *hostList) join() {
	slices.SortFunc(l.ranges, func(a, b addrRange) int { return a.first.Compare(b.first) })
	joined := l.ranges[:0]
	for _, r := range l.ranges {
		if n := len(joined); n > 0 && joined[n-1].last.Next() == r.first {
			joined[n-1].last = r.last
		} else {
			joined = append(joined, r)
		}
	}
	l.ranges = joined
}

func (l *hostList) String() string {
	s := plural(l.n, "host") + " gave no answer on any port"
	if l.many {
		return s
	}
	l.join()
	for i, r := range l.ranges {
		if i == foldOver {
			return s + fmt.Sprintf(" and %s more", plural(uint64(len(l.ranges)-i), "range"))
		}
		if i == 0 {
			s += ": "
		} else {
			s += ", "
		}
		s += r.first.String()
		if r.first != r.last {
			s += "-" + r.last.String()
		}
	}
	return s
}

func plural(n uint64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return commas(n) + " " + word + "s"
}

// commas writes a number in groups of three digits.
func commas(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
