package report

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sonde/internal/probe"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// A Merge joins JSON outputs: of the shards of a scan, of an interrupted scan and its rest, of several
// scans. Of each target the better knowledge counts: open beats every other answer, an answer beats silence, silence
// beats no verdict. Its memory grows with the hosts and with the answers in them.
//
// The zero value is empty. Read each file, then Write.
// One goroutine uses it.
type Merge struct {
	gathering                           // of each port one row, ascending
	hosts     map[netip.Addr]*scan.Host // what is known beside answers; Asked is not filled
	names     map[netip.Addr]string
	sources   []source
	warnings  []string
}

// A source is what is kept of an output beside what it says of hosts.
type source struct {
	scan  Scan
	total scan.Summary
	rest  scan.Summary // what total counts beyond the lines of the output
	whole bool
}

// Read adds a file of JSON lines: one output, or several one after the other. A LineError says
// which line cannot be read; nothing of an output with such a line is used.
func (m *Merge) Read(name string, r io.Reader) error {
	if m.hosts == nil {
		m.gathering, m.hosts, m.names = newGathering(), map[netip.Addr]*scan.Host{}, map[netip.Addr]string{}
	}
	parts := 0
	err := readParts(name, r, m.senders, func(p *part, cut bool) {
		parts++
		switch {
		case cut:
			m.warnings = append(m.warnings, name+" ends within a line: what was written of it until then is used")
		case !p.whole:
			m.warnings = append(m.warnings, name+" has no summary: it is not whole")
		}
		m.add(p)
	})
	var bad *LineError
	switch {
	case err == nil && parts == 0:
		return fmt.Errorf("%s is empty", name)
	case errors.As(err, &bad) && bad.Line == 1:
		return fmt.Errorf("%s is no JSON output of a scan: line 1: %w", name, bad.Err)
	}
	return err
}

// Warnings says what is missing in what was read.
func (m *Merge) Warnings() []string {
	missing := m.missingShards()
	switch {
	case len(missing) == 0:
		return m.warnings
	case len(missing) > 10:
		return append(slices.Clone(m.warnings), fmt.Sprintf("%d shards are missing", len(missing)))
	}
	return append(slices.Clone(m.warnings), "missing: shard "+strings.Join(missing, ", "))
}

// Names returns what the users of the scans called the addresses.
func (m *Merge) Names() map[netip.Addr]string { return m.names }

// add joins what a part says with what is known.
func (m *Merge) add(p *part) {
	s := source{scan: p.scan, total: p.summary, whole: p.whole}
	var lines scan.Summary
	known := len(p.hosts) == 0
	for addr, h := range p.hosts {
		rows := p.gathering.host(scan.Host{Addr: addr})
		settle(h, rows)
		tally(&lines, h, rows)
		known = known || m.hosts[addr] != nil
		m.join(h, rows, p.replies)
	}
	maps.Copy(m.names, p.names)
	s.rest = subtract(p.summary, lines)
	if known && s.replaces(m.sources) {
		return
	}
	m.sources = append(m.sources, s)
}

// settle takes from silence what answered, and from the undecided both.
func settle(h *scan.Host, rows []row) {
	answered := portsOf(rows)
	h.Silent = h.Silent.Without(answered)
	h.Undecided = h.Undecided.Without(answered).Without(h.Silent)
}

func portsOf(rows []row) target.Ports {
	var lists [int(probe.Echo) + 1][]uint16
	for i := range rows {
		lists[rows[i].proto] = append(lists[rows[i].proto], rows[i].port)
	}
	var all target.Ports
	for proto, list := range lists {
		all = all.Union(target.PortList(probe.Proto(proto), list...))
	}
	return all
}

// join adds what another output says of a host.
func (m *Merge) join(h *scan.Host, rows []row, replies map[probe.Target][]byte) {
	own := m.hosts[h.Addr]
	if own == nil {
		m.hosts[h.Addr], m.rows[h.Addr] = h, rows
	} else {
		rows = joinRows(m.rows[h.Addr], rows, func(r *row) bool {
			t := probe.Target{AddrPort: netip.AddrPortFrom(h.Addr, r.port), Proto: r.proto}
			return len(m.replies[t]) == 0 && len(replies[t]) > 0
		})
		m.rows[h.Addr] = rows
		joinHosts(own, h)
		if own.Middlebox {
			m.withdraw(h.Addr, rows, replies)
		}
		settle(own, rows)
		own.GaveUp = own.GaveUp && own.Undecided.Len() > 0
	}
	for i := range rows {
		t := probe.Target{AddrPort: netip.AddrPortFrom(h.Addr, rows[i].port), Proto: rows[i].proto}
		if reply := replies[t]; len(reply) > 0 && len(m.replies[t]) == 0 {
			m.replies[t] = reply
		}
	}
}

// withdraw takes back what was told to be open before a middlebox was found out, but where a service spoke.
func (m *Merge) withdraw(addr netip.Addr, rows []row, replies map[probe.Target][]byte) {
	for i := range rows {
		r := &rows[i]
		t := probe.Target{AddrPort: netip.AddrPortFrom(addr, r.port), Proto: r.proto}
		if r.proto == probe.TCP && r.state == probe.Open && len(replies[t]) == 0 && len(m.replies[t]) == 0 {
			r.state, r.reason = probe.OpenFiltered, probe.Middlebox
		}
	}
}

func joinHosts(own, h *scan.Host) {
	switch {
	case own.Silent.Len() == 0:
		own.Reason = weaker(own.Reason, h.Reason, false)
	case h.Silent.Len() > 0 || h.Reason == probe.RateLimited:
		own.Reason = weaker(own.Reason, h.Reason, true)
	}
	own.Attempts = max(own.Attempts, h.Attempts)
	own.Silent, own.Undecided = own.Silent.Union(h.Silent), own.Undecided.Union(h.Undecided)
	own.GaveUp, own.Middlebox = own.GaveUp || h.GaveUp, own.Middlebox || h.Middlebox
	if own.PTR == "" {
		own.PTR = h.PTR
	}
}

// weaker returns the reason for silence that claims less. The first counts only if anything was silent
// for it, but for the limit of a host, which is known either way.
func weaker(a, b probe.Reason, both bool) probe.Reason {
	switch {
	case a == probe.RateLimited || b == probe.RateLimited:
		return probe.RateLimited
	case !both || a == b:
		return b
	}
	return probe.NoResponse
}

// joinRows merges two lists in ascending order. Of a port in both the better row is kept, and of
// equals the one that alone has a reply, or else the later.
func joinRows(a, b []row, onlySecondReplied func(*row) bool) []row {
	joined := make([]row, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := byPort(a[0], b[0]); {
		case c < 0:
			joined, a = append(joined, a[0]), a[1:]
		case c > 0:
			joined, b = append(joined, b[0]), b[1:]
		default:
			best := a[0]
			if s, t := rank(a[0].state), rank(b[0].state); t > s || t == s && (onlySecondReplied(&b[0]) || b[0].nanos > a[0].nanos) {
				best = b[0]
			}
			joined, a, b = append(joined, best), a[1:], b[1:]
		}
	}
	return append(append(joined, a...), b...)
}

// rank orders answers by how much they say.
func rank(s probe.State) int {
	return slices.Index([]probe.State{probe.Filtered, probe.OpenFiltered, probe.Closed, probe.Open}, s)
}

// spanAnswers is about how many answers are given to a report at once.
const spanAnswers = 1 << 16

// Write gives everything to a report, host by host in ascending order: answers to answers, and what
// there is to say of hosts to hosts, as Report.Span has it. Closing the report, with Summary, is the caller's.
func (m *Merge) Write(answers scan.Sink, hosts func(n uint64, each iter.Seq[scan.Host]) error) error {
	var batch []scan.Host
	n := 0
	flush := func() error {
		err := hosts(uint64(len(batch)), slices.Values(batch))
		batch, n = batch[:0], 0
		return err
	}
	for _, addr := range slices.SortedFunc(maps.Keys(m.hosts), netip.Addr.Compare) {
		rows, h := m.rows[addr], *m.hosts[addr]
		h.Asked = portsOf(rows).Union(h.Silent).Union(h.Undecided)
		if err := answers.Put(m.results(addr, rows)); err != nil {
			return err
		}
		if batch, n = append(batch, h), n+len(rows); n >= spanAnswers {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// results are the rows of a host as a scan would report them.
func (m *Merge) results(addr netip.Addr, rows []row) []probe.Result {
	all := make([]probe.Result, len(rows))
	for i := range rows {
		r := &rows[i]
		all[i] = probe.Result{
			Target: probe.Target{AddrPort: netip.AddrPortFrom(addr, r.port), Proto: r.proto}, State: r.state, Reason: r.reason,
			From: m.addr(r.from), ICMP: r.icmp, TTL: r.ttl, Attempt: r.attempt, RTT: r.rtt(), Time: r.time(), Reply: m.reply(addr, r),
		}
	}
	return all
}
