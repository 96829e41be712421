package measure

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Condition is what a rate has to keep: p99<5ms, mean<1ms, loss<0.1%, failed<1%. What did not come back counts as having
// taken for ever, so that a server cannot keep a percentile by dropping what it has no time for.
type Condition struct {
	What       string  // p50, p99.9, …; mean, max; loss or failed, as of Counts
	Percentile float64 // of p…
	Limit      time.Duration
	Share      float64 // the limit of loss or failed, from 0 to 1
}

var errCondition = errors.New("write it as p99<5ms, p99.9<20ms, mean<1ms, max<50ms, loss<0.1% or failed<1%")

// OfShare reports whether the condition is on a share of the probes, not on a time.
func (c Condition) OfShare() bool { return c.What == "loss" || c.What == "failed" }

// ParseCondition reads one as String writes it.
func ParseCondition(text string) (c Condition, err error) {
	what, limit, ok := strings.Cut(strings.ReplaceAll(text, " ", ""), "<")
	if !ok || strings.HasPrefix(limit, "=") {
		return c, fmt.Errorf("%q is no condition; %w", text, errCondition)
	}
	c.What = what
	if c.OfShare() {
		return c, c.parseShare(text, limit)
	}
	if digits, isPercentile := strings.CutPrefix(what, "p"); isPercentile {
		c.Percentile, err = strconv.ParseFloat(digits, 64)
		if err != nil || !(c.Percentile > 0 && c.Percentile < 100) {
			return c, fmt.Errorf("%q is no percentile between p0 and p100; %w", what, errCondition)
		}
	} else if what != "mean" && what != "max" {
		return c, fmt.Errorf("%q is nothing that is measured; %w", what, errCondition)
	}
	c.Limit, err = time.ParseDuration(limit)
	if err != nil || c.Limit <= 0 {
		return c, fmt.Errorf("%q is no length of time above 0; %w", limit, errCondition)
	}
	return c, nil
}

func (c *Condition) parseShare(text, limit string) error {
	share, err := ParseShare(limit)
	if err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if c.Share = share; share == 0 {
		return fmt.Errorf("%q is never kept: nothing is less than 0; write a small share, as %s<0.01%%", text, c.What)
	}
	return nil
}

// ParseShare reads 1%, 0.5% or 0.01, and returns it from 0 to 1. A bare 1 is refused: it could be either 1% or all.
func ParseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err == nil && !percent && f == 1 {
		return 0, errors.New("write 1% or 100%")
	}
	if err != nil || math.IsNaN(f) || f < 0 || f > 1 {
		return 0, fmt.Errorf("%q is no share between 0%% and 100%%; write 1%% or 0.01", text)
	}
	return f, nil
}

// String is the condition as it is written.
func (c Condition) String() string {
	if c.OfShare() {
		return c.What + "<" + strconv.FormatFloat(c.Share*100, 'g', 6, 64) + "%"
	}
	return fmt.Sprintf("%s<%v", c.What, c.Limit)
}

// Forever is the value of a time that some probes, which did not come back, make endless.
const Forever = time.Duration(math.MaxInt64)

// Value returns what the condition looks at: a time, from when probes were to be sent, and the share of probes that
// make it endless; or the share itself.
func (c Condition) Value(r *Report) (t time.Duration, share float64) {
	switch c.What {
	case "loss":
		return 0, r.Loss()
	case "failed":
		return 0, r.Failed()
	}
	missing := r.missing()
	switch {
	case r.Latency.N() == 0, c.Percentile == 0 && missing > 0, c.Percentile/100 > 1-missing:
		return Forever, missing
	case c.What == "mean":
		return r.Latency.Mean(), missing
	case c.What == "max":
		return r.Latency.Max(), missing
	}
	return r.Latency.Percentile(c.Percentile / (1 - missing)), missing
}

// missing is the share of the probes that never came back whole. What came late has a time.
func (r *Report) missing() float64 {
	settled, came := r.Probes-r.Pending, r.Latency.N()
	if came >= settled {
		return 0
	}
	return float64(settled-came) / float64(settled)
}

// Kept reports whether a run kept the condition.
func (c Condition) Kept(r *Report) bool {
	t, share := c.Value(r)
	if c.OfShare() {
		return share < c.Share
	}
	return t < c.Limit
}

// least is of how many probes the condition can be told at all: of fewer, a percentile is the maximum.
func (c Condition) least() float64 {
	switch {
	case c.OfShare():
		return 1 / c.Share
	case c.Percentile > 0:
		return 1 / (1 - c.Percentile/100)
	}
	return 1
}

// Coarse reports whether n probes are too few for the condition: their percentile is their maximum, and one lost is too many.
func (c Condition) Coarse(n uint64) bool { return float64(n) < c.least()*0.999 }

// enough is how many probes tell it well.
func (c Condition) enough() float64 { return max(100, 10*c.least()) }
