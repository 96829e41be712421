package report

import (
	"fmt"

	"sonde/internal/scan"
)

// totals is what a scan came to, in one line.
func totals(s scan.Summary) string {
	line := fmt.Sprintf("%s, %s: %s open, %s closed, %s filtered", Plural(s.Hosts, "host"), Plural(s.Targets, "port"),
		commas(s.Open), commas(s.Closed), commas(s.Filtered))
	if s.OpenFiltered > 0 {
		line += fmt.Sprintf(", %s open|filtered", commas(s.OpenFiltered))
	}
	if s.Unanswered > 0 {
		line += fmt.Sprintf(" (%s silent)", commas(s.Unanswered))
	}
	return line + fmt.Sprintf("; %s in %s", Plural(s.Probes, "probe"), elapsed(s.Elapsed))
}

// caveats says, a sentence each, what a reader of the totals has to know besides.
func caveats(s scan.Summary) []string {
	var all []string
	add := func(n uint64, one, many string) {
		switch {
		case n == 1:
			all = append(all, "1 host "+one)
		case n > 1:
			all = append(all, commas(n)+" hosts "+many)
		}
	}
	add(s.Skipped, "skipped: it did not answer", "skipped: they did not answer")
	add(s.GaveUp, "was given up (--host-timeout)", "were given up (--host-timeout)")
	add(s.Limited, "limits how often it refuses: its silence proves nothing", "limit how often they refuse: their silence proves nothing")
	add(s.Middleboxes, "has something in front of it that accepts for it: what it accepted is not counted as open",
		"have something in front of them that accepts for them: what they accepted is not counted as open")
	if missed := missed(s); missed != "" {
		all = append(all, missed)
	}
	return all
}

// missed says how much was lost on the way, and what that means for what was found. Where nothing
// was silent nothing was missed.
func missed(s scan.Summary) string {
	m := s.Missed
	switch {
	case s.Unanswered == 0:
		return ""
	case !m.Known && s.Answered == 0:
		return "nothing answered: what was lost on the way cannot be told"
	case !m.Known:
		return "too little answered to tell what was lost on the way"
	case m.Loss < 0.0005 && m.Missed95 < 0.05:
		return "no loss seen; no open port is expected to have been missed (95 %)"
	case m.Loss < 0.0005:
		return fmt.Sprintf("no loss seen; at most %s open %s missed (95 %%)", about(m.Missed95), wasWere(m.Missed95))
	}
	return fmt.Sprintf("loss about %s %%; %s open ports expected to have been missed, at most %s (95 %%)",
		about(100*m.Loss), about(m.Missed), about(m.Missed95))
}

func wasWere(n float64) string {
	if n == 1 {
		return "port was"
	}
	return "ports were"
}
