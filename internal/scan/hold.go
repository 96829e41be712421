package scan

import (
	"time"

	"sonde/internal/probe"
)

// A control is a probe that is asked beside a pass, when it is due.
type control struct {
	probe.Probe
	due time.Time
}

// holdUp returns how long nothing may be sent, so that no host is asked too often.
func (q *queue) holdUp(now time.Time) time.Duration {
	next := q.held
	if len(q.controls) > 0 && (q.controls[0].due.Before(next) || !q.skipAnswered()) {
		next = q.controls[0].due
	}
	return next.Sub(now)
}

// pace says whether the host that the cursor is at may be asked now, and until when it holds the pass up else.
func (q *queue) pace(now time.Time) bool {
	if q.gap == 0 {
		return true
	}
	s := q.cursor.slot
	if q.held = s.due; s.due.Before(q.floor) {
		q.held = q.floor
	}
	if q.held.After(now) {
		return false
	}
	s.due = now.Add(q.gap)
	return true
}

// control lets a control be asked when its host may be.
func (q *queue) control(p probe.Probe, now time.Time) {
	c := control{Probe: p}
	if q.gap > 0 {
		c.due = now.Add(q.gap)
		q.cursor.slot.due = now.Add(2 * q.gap)
	}
	q.controls = append(q.controls, c)
}
