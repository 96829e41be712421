package report

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"text/tabwriter"

	"sonde/internal/probe"
)

// A column of a host's table. An optional one is left out where it would be empty.
type column struct {
	title    string
	optional bool
	cell     func(addr netip.Addr, r *row) string
}

// columnsFor returns the columns of every table, in the order in which they stand.
func (t *Text) columnsFor(o Options) []column {
	columns := []column{
		{"PORT", false, func(_ netip.Addr, r *row) string { return fmt.Sprintf("%d/%s", r.port, r.proto) }},
		{t.paint("STATE", false), false, func(_ netip.Addr, r *row) string { return t.paint(r.state.String(), r.state == probe.Open) }},
		{"SERVICE", false, func(_ netip.Addr, r *row) string { return serviceName(r.proto, r.port) }},
	}
	if o.Reason {
		columns = append(columns,
			column{"REASON", false, func(_ netip.Addr, r *row) string { return r.reason.String() }},
			column{"FROM", true, func(_ netip.Addr, r *row) string { return t.from(r.class) }},
			column{"ICMP", true, func(_ netip.Addr, r *row) string { return icmp(r.icmp) }},
			column{"ATTEMPT", true, func(_ netip.Addr, r *row) string { return number(r.attempt) }},
			column{"TTL", true, func(_ netip.Addr, r *row) string { return number(r.ttl) }})
	} else {
		columns = append(columns, column{"REASON", false, func(_ netip.Addr, r *row) string { return t.reason(r.class) }})
	}
	return append(columns,
		column{"RTT", true, func(_ netip.Addr, r *row) string { return roundTrip(r.rtt()) }},
		column{"BANNER", true, func(addr netip.Addr, r *row) string { return firstLine(t.reply(addr, r)) }})
}

func (t *Text) reason(c class) string {
	if from := t.from(c); from != "" {
		return fmt.Sprintf("%s from %s", c.reason, from)
	}
	return c.reason.String()
}

func icmp(m probe.ICMP) string {
	if m == (probe.ICMP{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", m.Type, m.Code)
}

// number writes what is known to be more than 0.
func number(n uint8) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (t *Text) table(addr netip.Addr, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	columns := slices.DeleteFunc(slices.Clone(t.columns), func(c column) bool {
		return c.optional && !slices.ContainsFunc(rows, func(r row) bool { return c.cell(addr, &r) != "" })
	})
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	writeCells(tw, columns, func(c column) string { return c.title })
	for i := range rows {
		writeCells(tw, columns, func(c column) string { return c.cell(addr, &rows[i]) })
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

func writeCells(tw *tabwriter.Writer, columns []column, text func(column) string) {
	for i, c := range columns {
		if i > 0 {
			fmt.Fprint(tw, "\t")
		}
		fmt.Fprint(tw, text(c))
	}
	fmt.Fprint(tw, "\n")
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
