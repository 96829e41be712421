package measure

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sonde/internal/pace"
)

const (
	quantum     = 200 * time.Microsecond // the clock wakes so often at most: what falls due meanwhile goes together
	openAtATime = 64                     // connections being made: more than that overflow a server's queue (listen(2))
	again       = time.Second            // between two attempts at a connection
	parting     = 500 * time.Millisecond // for the peer's FIN
)

// errOver ends what still waits when a run is over.
var errOver = errors.New("the run is over")

// A run is one call of Run.
type run struct {
	Plan
	codec   Codec
	flows   []*flow
	records []*recorder
	table   *pace.Timetable // nil: a closed loop
	start   time.Time
	total   uint64
	cancel  context.CancelCauseFunc

	tickets atomic.Int64 // probes that a closed loop may still send
	heard   atomic.Bool  // something of ours came back
	alive   atomic.Int64 // connections that stand
	handed  atomic.Bool  // nothing more is handed out
	settled chan struct{}

	mu                      sync.Mutex // callbacks, and these
	connect, tls, firstByte *Distribution
}

// Run does what the plan says until it is done or ctx ends, and returns what it found. An error says that there was nothing to
// be found: no connection (Dial's), a *StrangerError or a *HangupError; or that something of this machine's failed. The
// report beside it has what was counted until then.
func Run(ctx context.Context, p Plan) (*Report, error) { return newRun(p).run(ctx, pace.Precise()) }

func newRun(p Plan) *run {
	r := &run{
		Plan: p, codec: NewCodec(p.Seed), total: p.most(), settled: make(chan struct{}, 1),
		connect: NewDistribution(), tls: NewDistribution(), firstByte: NewDistribution(),
	}
	for range min(4, p.Connections) {
		r.records = append(r.records, newRecorder())
	}
	for i := range p.Connections {
		r.flows = append(r.flows, newFlow(r, i))
	}
	r.tickets.Store(int64(r.total))
	return r
}

func (r *run) run(parent context.Context, alarm *pace.Alarm) (*Report, error) {
	defer alarm.Close()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	r.cancel = cancel
	if err := r.open(ctx); err != nil {
		return r.report(0, parent.Err() != nil), err
	}
	r.start = time.Now()
	if r.Rate > 0 {
		r.table = pace.NewTimetable(r.start, r.Rate)
	}
	var work sync.WaitGroup
	for _, f := range r.flows {
		work.Go(func() { f.live(ctx) })
	}
	work.Go(func() { r.handOut(ctx, alarm) })
	r.follow(ctx)
	for _, f := range r.flows {
		f.end(ctx.Err() != nil)
	}
	elapsed := r.now()
	cause := context.Cause(ctx)
	cancel(errOver)
	work.Wait()
	if parent.Err() == nil && cause != nil {
		return r.report(elapsed, false), cause
	}
	return r.report(elapsed, parent.Err() != nil), nil
}

func (r *run) now() time.Duration { return time.Since(r.start) }

// open makes the connections. If only some can be made, the others are tried again while the run goes on.
func (r *run) open(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(openAtATime)
	for _, f := range r.flows {
		g.Go(func() error { return f.open(ctx) })
	}
	err := g.Wait()
	if r.alive.Load() > 0 && ctx.Err() == nil {
		return nil
	}
	for _, f := range r.flows {
		f.sever()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// handOut says what may be sent, by the timetable or for as long as the plan says.
func (r *run) handOut(ctx context.Context, alarm *pace.Alarm) {
	if r.table == nil {
		r.closeLoop(ctx, alarm)
	} else {
		r.openLoop(ctx, alarm)
	}
	r.handed.Store(true)
	r.settle()
}

func (r *run) openLoop(ctx context.Context, alarm *pace.Alarm) {
	for given := uint64(0); given < r.total; {
		now := time.Now()
		for due := r.table.Due(now, r.total); given < due; given++ {
			f := r.flows[given%uint64(len(r.flows))]
			f.due.Add(1)
			f.wake()
		}
		next := r.table.At(given)
		if soonest := now.Add(quantum); next.Before(soonest) {
			next = soonest
		}
		if given < r.total && alarm.Wait(ctx, next) != nil {
			return
		}
	}
}

// closeLoop lets each connection send whenever there is room.
func (r *run) closeLoop(ctx context.Context, alarm *pace.Alarm) {
	if r.Duration > 0 {
		_ = alarm.Wait(ctx, r.start.Add(r.Duration))
		r.tickets.Store(0)
	}
}

// settle wakes the one who follows, for whom something may be over.
func (r *run) settle() {
	select {
	case r.settled <- struct{}{}:
	default:
	}
}

// follow watches the clock until the run is over: what is silent is given up, progress is told.
func (r *run) follow(ctx context.Context) {
	step := min(max(r.Timeout/20, time.Millisecond), 100*time.Millisecond)
	tick := time.NewTicker(step)
	defer tick.Stop()
	told, handedAt := r.now(), time.Duration(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.settled:
		}
		now := r.now()
		r.expire(now)
		if r.over() && handedAt < 0 {
			handedAt = now
		}
		if handedAt >= 0 && (r.idle() || now-handedAt > r.Timeout+2*step) {
			return
		}
		if r.Progress != nil && now-told >= time.Second {
			told = now
			r.progress(r.counts())
		}
	}
}

// over reports whether nothing more will be sent, but for what is held up.
func (r *run) over() bool {
	if r.table == nil {
		return r.tickets.Load() <= 0
	}
	return r.handed.Load()
}

func (r *run) idle() bool {
	for _, f := range r.flows {
		if !f.idle() {
			return false
		}
	}
	return true
}

func (r *run) expire(now time.Duration) {
	for _, f := range r.flows {
		f.expire(now)
	}
}

func (r *run) counts() (all Counts) {
	for _, f := range r.flows {
		all.add(f.counts())
	}
	return all
}

// fail ends the run: there is nothing to be measured.
func (r *run) fail(err error) { r.cancel(err) }

// event tells of something.
func (r *run) event(e Event) {
	if r.Event == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Event(e)
}

func (r *run) progress(c Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Progress(c)
}

func (r *run) reply(p Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Reply(p)
}

func (r *run) report(elapsed time.Duration, interrupted bool) *Report {
	report := NewReport()
	report.Counts, report.Elapsed, report.Asked, report.Interrupted = r.counts(), elapsed, r.Rate, interrupted
	report.Connect, report.TLS, report.FirstByte = r.connect, r.tls, r.firstByte
	for _, rec := range r.records {
		report.Latency.Merge(rec.latency)
		report.Service.Merge(rec.service)
	}
	first, last, jitter, jittered := time.Duration(-1), time.Duration(0), 0.0, 0
	for _, f := range r.flows {
		if f.sentFirst >= 0 && (first < 0 || f.sentFirst < first) {
			first = f.sentFirst
		}
		last = max(last, f.sentLast)
		report.Dropped += f.dropped
		report.Held += f.held
		report.countEnds(f)
		if f.track.heard > 1 {
			jitter, jittered = jitter+f.track.jitter, jittered+1
		}
	}
	if sent := report.Probes - report.Unsent; sent > 1 && last > first {
		report.Achieved = float64(sent-1) / (last - first).Seconds()
	}
	report.Jitter, report.JitterOf = time.Duration(jitter/float64(max(jittered, 1))), jittered
	report.Bytes = (report.Answered + report.Late) * uint64(r.Size)
	if r.table != nil {
		report.Stalled = r.table.Moved()
	}
	return report
}

func (r *Report) countEnds(f *flow) {
	if f.closed {
		r.Closed++
	}
	if f.down {
		r.Down++
	}
}
