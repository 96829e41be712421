package report

import (
	"fmt"
	"slices"

	"sonde/internal/loss"
	"sonde/internal/probe"
	"sonde/internal/scan"
)

// Summary sums up all that was read. What lines say is counted once, however many outputs have it; what
// an output counts beyond its lines (it may show open ports only, or have been interrupted) is added. Times add up.
// It is complete if every output was, and had its summary.
func (m *Merge) Summary() scan.Summary {
	total := scan.Summary{Complete: true}
	for addr, h := range m.hosts {
		tally(&total, h, m.rows[addr])
	}
	var missed losses
	for i := range m.sources {
		s := &m.sources[i]
		add(&total, s.rest)
		total.Probes += s.total.Probes
		total.Skipped += s.total.Skipped
		total.Elapsed += s.total.Elapsed
		total.Complete = total.Complete && s.whole && s.total.Complete
		if total.LocalErr == nil {
			total.LocalErr = s.total.LocalErr
		}
		missed.add(s.total.Missed)
	}
	total.Missed = missed.sum
	total.Complete = total.Complete && len(m.missingShards()) == 0
	return total
}

// missingShards names the shards that are missing where several were read. Of one alone nothing is: it is what was wanted.
func (m *Merge) missingShards() (missing []string) {
	type set struct {
		n    int
		seed uint64
	}
	read := map[set]map[int]bool{}
	for i := range m.sources {
		var k, n int
		if _, err := fmt.Sscanf(m.sources[i].scan.Shard, "%d/%d", &k, &n); err != nil {
			continue
		}
		key := set{n, m.sources[i].scan.Seed}
		if read[key] == nil {
			read[key] = map[int]bool{}
		}
		read[key][k] = true
	}
	for key, parts := range read {
		for k := 1; k <= key.n && len(parts) > 1; k++ {
			if !parts[k] {
				missing = append(missing, fmt.Sprintf("%d/%d", k, key.n))
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// Scan describes all that was read: one scan as it was begun, several by what they have in common.
func (m *Merge) Scan() Scan {
	var sum Scan
	for i := range m.sources {
		s := &m.sources[i].scan
		if i == 0 {
			sum = *s
			continue
		}
		if !s.Start.IsZero() && (sum.Start.IsZero() || s.Start.Before(sum.Start)) {
			sum.Start = s.Start
		}
		sum.Ports = sum.Ports.Union(s.Ports)
		sum.Args = common(slices.Equal(sum.Args, s.Args), sum.Args)
		sum.Version = common(sum.Version == s.Version, sum.Version)
		sum.Seed = common(sum.Seed == s.Seed, sum.Seed)
		sum.Shard = common(sum.Shard == s.Shard, sum.Shard)
	}
	if len(m.sources) > 1 {
		sum.Hosts = m.Summary().Hosts
	}
	return sum
}

// common returns v if it is the same everywhere, or else nothing.
func common[T any](same bool, v T) (none T) {
	if same {
		return v
	}
	return none
}

// replaces reports whether s is an output of a scan that is among the others already, as those of an
// interrupted scan and of its rest are, or one read twice. Of those only the one that got further counts in sums.
func (s *source) replaces(others []source) bool {
	for i := range others {
		o := &others[i]
		if s.scan.Start.IsZero() || !o.scan.Start.Equal(s.scan.Start) || o.scan.Seed != s.scan.Seed || o.scan.Shard != s.scan.Shard || o.scan.Hosts != s.scan.Hosts || !o.scan.Ports.Equal(s.scan.Ports) {
			continue
		}
		if s.whole && (!o.whole || s.total.Undecided < o.total.Undecided) {
			*o = *s
		}
		return true
	}
	return false
}

// counters are what a summary counts that lines have too.
func counters(s *scan.Summary) []*uint64 {
	return []*uint64{&s.Hosts, &s.Targets, &s.Answered, &s.Open, &s.Closed, &s.Filtered, &s.OpenFiltered,
		&s.Unanswered, &s.Undecided, &s.GaveUp, &s.Limited, &s.Middleboxes}
}

func add(s *scan.Summary, t scan.Summary) {
	for i, c := range counters(s) {
		*c += *counters(&t)[i]
	}
}

// subtract returns what s counts beyond t.
func subtract(s, t scan.Summary) scan.Summary {
	for i, c := range counters(&s) {
		*c -= min(*c, *counters(&t)[i])
	}
	return s
}

// tally counts what lines say of a host.
func tally(s *scan.Summary, h *scan.Host, rows []row) {
	states := map[probe.State]uint64{}
	for i := range rows {
		states[rows[i].state]++
	}
	silent := func(proto probe.Proto) uint64 { return of(h.Silent, proto).Len() }
	one := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	add(s, scan.Summary{
		Hosts: 1, Targets: uint64(len(rows)) + h.Silent.Len() + h.Undecided.Len(), Answered: uint64(len(rows)),
		Open: states[probe.Open], Closed: states[probe.Closed],
		Filtered: states[probe.Filtered] + h.Silent.Len() - silent(probe.UDP), OpenFiltered: states[probe.OpenFiltered] + silent(probe.UDP),
		Unanswered: h.Silent.Len(), Undecided: h.Undecided.Len(),
		GaveUp: one(h.GaveUp), Limited: one(h.Reason == probe.RateLimited), Middleboxes: one(h.Middlebox),
	})
}

// losses adds up estimates of which only what is told to people is left. The sum of the bounds is a
// bound, if not the closest. It is known if every estimate is of which anything answered.
type losses struct {
	sum     loss.Estimate
	unknown bool
}

func (l *losses) add(e loss.Estimate) {
	if e.Answers == 0 {
		return
	}
	if !e.Known {
		l.unknown = true
	}
	answers := l.sum.Answers + e.Answers
	if l.unknown {
		l.sum = loss.Estimate{Answers: answers}
		return
	}
	l.sum = loss.Estimate{
		Known: true, Answers: answers, Missed: l.sum.Missed + e.Missed, Missed95: l.sum.Missed95 + e.Missed95,
		Loss: (l.sum.Loss*float64(l.sum.Answers) + e.Loss*float64(e.Answers)) / float64(answers),
	}
}
