package measure

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Condition is what a rate has to keep: p99<5ms, mean<1ms, loss<0.1%. What did not come back counts as having taken
// for ever, so that a server cannot keep a percentile by dropping what it has no time for.
type Condition struct {
	What       string  // p50, p99.9, …; mean, max or loss
	Percentile float64 // of p…
	Limit      time.Duration
	Loss       float64 // the limit of loss, from 0 to 1
}

var errCondition = errors.New("write it as p99<5ms, p99.9<20ms, mean<1ms, max<50ms or loss<0.1%")

// ParseCondition reads one as String writes it.
func ParseCondition(text string) (c Condition, err error) {
	what, limit, ok := strings.Cut(strings.ReplaceAll(text, " ", ""), "<")
	if !ok || strings.HasPrefix(limit, "=") {
		return c, fmt.Errorf("%q is no condition; %w", text, errCondition)
	}
	c.What = what
	if what == "loss" {
		return c, c.parseLoss(text, limit)
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

func (c *Condition) parseLoss(text, limit string) error {
	share, err := ParseShare(limit)
	if err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	if c.Loss = share; share == 0 {
		return fmt.Errorf("%q is never kept: nothing is less than 0; write a small share, as loss<0.01%%", text)
	}
	return nil
}

// ParseShare reads 1%, 0.5% or 0.01, and returns it from 0 to 1.
func ParseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err != nil || math.IsNaN(f) || f < 0 || f > 1 {
		return 0, fmt.Errorf("%q is no share between 0%% and 100%%; write 1%% or 0.01", text)
	}
	return f, nil
}

// String is the condition as it is written.
func (c Condition) String() string {
	if c.What == "loss" {
		return "loss<" + strconv.FormatFloat(c.Loss*100, 'g', 6, 64) + "%"
	}
	return fmt.Sprintf("%s<%v", c.What, c.Limit)
}

// Forever is the value of a time that some probes, which did not come back, make endless.
const Forever = time.Duration(math.MaxInt64)

// Value returns what the condition looks at: a time, from when probes were to be sent, or with What loss a share.
func (c Condition) Value(r *Report) (t time.Duration, share float64) {
	loss := r.Loss()
	switch {
	case c.What == "loss":
		return 0, loss
	case r.Latency.N() == 0, c.Percentile == 0 && loss > 0:
		return Forever, loss
	case c.What == "mean":
		return r.Latency.Mean(), loss
	case c.What == "max":
		return r.Latency.Max(), loss
	case c.Percentile/100 > 1-loss:
		return Forever, loss
	}
	return r.Latency.Percentile(c.Percentile / (1 - loss)), loss
}

// Kept reports whether a run kept the condition.
func (c Condition) Kept(r *Report) bool {
	t, share := c.Value(r)
	if c.What == "loss" {
		return share < c.Loss
	}
	return t < c.Limit
}
