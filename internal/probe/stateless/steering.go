package stateless

import (
	"sync"
	"time"

	"sonde/internal/pace"
)

// steering keeps the rate where nothing is lost that a lower one would save.
//
// Answers that this machine had no room for lower it at once. Answers to a retry say that probes, or answers, got lost on the way. Whether by
// chance, or because it is too fast for something there, is tried out: at half the rate as large a part of what is asked answers, or a larger
// one. While it is larger the rate is halved again; when it is not, the rate goes back to what it was before the last halving.
type steering struct {
	rate  *pace.Rate
	limit float64 // what the user allows; 0: no limit

	mu      sync.Mutex // guards the rest
	allowed float64    // the limit that is set now; 0: the user's
	lowered time.Time  // when it was last lowered because answers were lost here
	window  window
	lost    uint64 // answers, as of the last window
	before  pass   // the pass before the one at hand
	at      pass   // the one at hand
	trial   trial
	bears   bool // the path is known to bear the rate that is allowed, or to lose by chance
}

// A window is a stretch of time in which what was sent is counted.
type window struct {
	began time.Time
	sent  int
}

// A pass counts what was sent and answered with one attempt number.
type pass struct {
	attempt        uint8
	sent, answered int
}

// A trial is half the rate, for a part of a pass.
type trial struct {
	on      bool
	from    float64 // the limit before
	share   float64 // of what was asked, that answered before
	began   time.Time
	pass    pass // as it was when what was sent at the old rate had answered
	counted bool
}

const (
	windowTime = 100 * time.Millisecond
	leastRate  = 100.
	calmTime   = time.Second // without a loss, before the rate is raised again
	onLoss     = 0.7         // what is left of the rate after a window in which answers were lost here
	onCalm     = 1.05        // in each window
	telling    = 40          // answers to retries; fewer are no sign
	losing     = 0.02        // of what would answer: beyond it the path loses
	proving    = 200         // answers that a trial waits for, and that it begins with
	larger     = 1.4         // times the part that answered: four standard deviations of the two
	settling   = 2 * windowTime
	unlimited  = 1e9
	beyond     = 2. // times the rate that is reached: there need not be a limit
)

// begin begins a scan, or its next span: what was learnt of the path is kept.
func (s *steering) begin(rate *pace.Rate, limit float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate, s.limit = rate, limit
	s.window, s.before, s.at = window{}, pass{}, pass{}
	s.endTrial()
}

// sent notes that n probes with that attempt number were sent, and how many answers were lost here so far.
func (s *steering) sent(attempt uint8, n int, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rate == nil {
		return
	}
	now := time.Now()
	if attempt != s.at.attempt {
		s.endTrial() // another pass asks others
		s.before, s.at = s.at, pass{attempt: attempt}
	}
	s.at.sent += n
	if s.window.began.IsZero() {
		s.window.began, s.lost = now, lost
	}
	s.window.sent += n
	if took := now.Sub(s.window.began); took >= windowTime {
		s.judge(float64(s.window.sent)/took.Seconds(), lost, now)
		s.window = window{began: now}
	}
}

// judge looks at a window, in which so many a second were sent.
func (s *steering) judge(reached float64, lost uint64, now time.Time) {
	switch {
	case lost > s.lost:
		s.lost, s.lowered = lost, now
		s.trial.on = false
		s.set(max(reached*onLoss, leastRate))
	case s.trial.on:
		s.weigh(reached, now)
	case !s.bears && s.at.answered >= proving && s.lossOnTheWay() > losing:
		s.try(float64(s.at.answered)/float64(s.at.sent), reached, now)
	case !s.lowered.IsZero() && now.Sub(s.lowered) > calmTime:
		s.raise(reached)
	}
}

// try begins a trial, with the share that answered at the rate that was reached.
func (s *steering) try(share, reached float64, now time.Time) {
	s.trial = trial{on: true, from: s.allowed, share: share, began: now}
	s.set(max(reached/2, leastRate))
}

// weigh ends a trial that has shown something.
func (s *steering) weigh(reached float64, now time.Time) {
	t := &s.trial
	if !t.counted {
		if now.Sub(t.began) > settling {
			t.pass, t.counted = s.at, true
		}
		return
	}
	sent, answered := s.at.sent-t.pass.sent, s.at.answered-t.pass.answered
	if expected := t.share * float64(sent); expected < proving {
		return
	}
	if share := float64(answered) / float64(sent); share > larger*t.share {
		s.try(share, reached, now)
		return
	}
	s.endTrial()
	s.bears = true
}

// endTrial goes back to the rate before a trial.
func (s *steering) endTrial() {
	if s.trial.on {
		s.trial.on = false
		s.set(s.trial.from)
	}
}

// lossOnTheWay returns which part of what would answer is lost, 0 if too little was heard to tell: of n that would, n(1-p) answer the one
// pass and np(1-p) the next, which asks the silent again.
func (s *steering) lossOnTheWay() float64 {
	if s.at.attempt < 2 || s.at.answered < telling || s.before.answered == 0 {
		return 0
	}
	done := float64(s.at.sent) / float64(max(1, s.before.sent-s.before.answered))
	return float64(s.at.answered) / min(1, done) / float64(s.before.answered)
}

// raise lets the rate grow, until it is no longer what bounds it.
func (s *steering) raise(reached float64) {
	if to := s.allowed * onCalm; to < beyond*reached {
		s.set(to)
		return
	}
	s.lowered = time.Time{}
	s.set(0)
}

// set sets the limit, 0: the user's.
func (s *steering) set(limit float64) {
	if s.limit > 0 && limit > s.limit {
		limit = 0
	}
	s.allowed = limit
	switch {
	case limit > 0:
		s.rate.Set(limit)
	case s.limit > 0:
		s.rate.Set(s.limit)
	default:
		s.rate.Set(unlimited)
	}
}

// answered notes an answer to a probe with that attempt number.
func (s *steering) answered(attempt uint8) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch attempt {
	case s.at.attempt:
		s.at.answered++
	case s.before.attempt:
		s.before.answered++
	}
}
