package report

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// CSV writes a header and then a line for each port of each host (RFC 4180), silent ones included and those
// without a verdict ("undecided") too, when the span of the host is over.
//
// Names and banners are safe text. Where one begins as a formula would (=, +, -, @) that
// character is escaped, since spreadsheets run formulas and strangers choose banners.
type CSV struct {
	gathering
	options Options
	buf     *bufio.Writer
	w       *csv.Writer
}

var csvHeader = []string{"addr", "name", "ptr", "port", "proto", "state", "reason", "service", "from",
	"icmp_type", "icmp_code", "attempt", "ttl", "rtt_ms", "time", "banner"}

// NewCSV returns a Report that writes CSV to w.
func NewCSV(w io.Writer, o Options) *CSV {
	buf := bufio.NewWriterSize(w, 1<<16)
	c := &CSV{gathering: newGathering(), options: o, buf: buf, w: csv.NewWriter(buf)}
	_ = c.w.Write(csvHeader) // it keeps its error for Flush
	return c
}

// Put implements scan.Sink.
func (c *CSV) Put(answers []probe.Result) error {
	c.put(answers)
	return nil
}

// Span implements Report.
func (c *CSV) Span(_ uint64, each iter.Seq[scan.Host]) error {
	for h := range each {
		if err := c.host(h); err != nil {
			return err
		}
	}
	c.end()
	return c.flush()
}

func (c *CSV) host(h scan.Host) error {
	rows := c.gathering.host(h)
	if c.options.OpenOnly {
		rows, h.Undecided = openOnly(rows), target.Ports{}
	}
	name, ptr := cell(c.options.Names[h.Addr]), cell(h.PTR)
	for i := range rows {
		r := &rows[i]
		icmpType, icmpCode := "", ""
		if r.icmp != (probe.ICMP{}) {
			icmpType, icmpCode = fmt.Sprint(r.icmp.Type), fmt.Sprint(r.icmp.Code)
		}
		err := c.w.Write([]string{h.Addr.String(), name, ptr, strconv.Itoa(int(r.port)), r.proto.String(), r.state.String(),
			r.reason.String(), serviceName(r.proto, r.port), c.from(r.class), icmpType, icmpCode, number(r.attempt), number(r.ttl),
			milliseconds(r.micros), timestamp(r.time()), cell(string(c.reply(h.Addr, r)))})
		if err != nil {
			return err
		}
	}
	h.Undecided.Where(func(proto probe.Proto, port uint16) bool {
		line := make([]string, len(csvHeader))
		copy(line, []string{h.Addr.String(), name, ptr, strconv.Itoa(int(port)), proto.String(), "undecided", "", serviceName(proto, port)})
		_ = c.w.Write(line) // it keeps its error for Flush
		return false
	})
	return nil
}

// cell makes text from strangers safe for a terminal and for a spreadsheet.
func cell(s string) string {
	s = safetext.String(s)
	if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
		return fmt.Sprintf(`\x%02x%s`, s[0], s[1:])
	}
	return s
}

func milliseconds(micros uint32) string {
	if micros == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(micros)/1000, 'f', -1, 64)
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// Close implements Report.
func (c *CSV) Close(scan.Summary) error { return c.flush() }

func (c *CSV) flush() error {
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return err
	}
	return c.buf.Flush()
}
