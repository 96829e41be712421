package cli

import (
	"context"
	"fmt"

	"sonde/internal/measure"
)

func (p *pinger) runSearch(ctx context.Context, plan measure.Plan, report pingReport) error {
	search := measure.Search{Plan: plan, Condition: p.condition, From: float64(p.rate.rate), Step: p.step, Told: report.step}
	found, err := search.Run(ctx)
	report.found(found, err)
	if err != nil {
		return p.pingFailure(err)
	}
	if found.Rate == 0 {
		look := fmt.Sprintf("look at one rate: sonde ping --rate %.f --count 100 --histogram %s", max(found.Lowest, 1), p.peer())
		return failure(fmt.Errorf("no rate keeps %v down to %s; the best was %s at %s",
			p.condition, perSecondWords(found.Lowest), p.measured(found.Best.Report), perSecondWords(found.Best.Rate)), look)
	}
	return nil
}

func (t *pingText) step(s measure.Step) {
	if t.quiet {
		return
	}
	verdict := map[bool]string{true: "kept", false: "not kept"}[s.Kept]
	if s.Limited {
		verdict = fmt.Sprintf("only %s sent: this machine is the limit", perSecondWords(s.Report.Achieved))
	}
	again := ""
	if s.Again {
		again = ", asked again"
	}
	if probes := s.Report.Probes; t.condition.Percentile > 0 && t.condition.Coarse(probes) {
		again += fmt.Sprintf("; %s of %s is their maximum", t.condition.What, quantity(probes, "probe"))
	}
	fmt.Fprintf(t.out, "%s: %s, %s%s\n", perSecondWords(s.Rate), t.measured(s.Report), verdict, again)
}

// measured is what the condition looks at.
func (p *pinger) measured(r *measure.Report) string {
	value, share := p.condition.Value(r)
	switch {
	case p.condition.OfShare():
		return p.condition.What + " " + percent(share)
	case value == measure.Forever:
		return fmt.Sprintf("%s endless (%s never came)", p.condition.What, percent(share))
	}
	return p.condition.What + " " + pingTime(value)
}

func (t *pingText) found(f measure.Finding, err error) {
	if f.Rate == 0 {
		return // the command's error tells
	}
	if err != nil {
		fmt.Fprintf(t.out, "ended before it was found: so far %v was kept at %s%s\n", t.condition, perSecondWords(f.Rate), notKept(f))
		return
	}
	line := fmt.Sprintf("%v is kept up to %s", t.condition, perSecondWords(f.Rate))
	if f.Limited {
		fmt.Fprintln(t.out, line+", the most that this machine sends: the server may bear more")
		return
	}
	fmt.Fprintln(t.out, line+notKept(f))
}

func notKept(f measure.Finding) string {
	if f.NotKept == 0 {
		return ""
	}
	return fmt.Sprintf(", and not at %s", perSecondWords(f.NotKept))
}
