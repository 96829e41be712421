package scan

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"sync"
	"time"

	"sonde/internal/probe"
)

// resultsBuffered is how many answers may wait for the sink; then the prober waits too.
const resultsBuffered = 4096

// Where more answers than that come at once, the sink waits a moment for more.
const (
	pouring  = 32
	pourTime = time.Millisecond
)

// markEvery is how often a job tells how far it is: what a kill makes it ask again.
const markEvery = 200 * time.Millisecond

// A Job is one span of a plan, who carries it out and where the answers go.
type Job struct {
	Plan   Plan
	Span   Span
	Prober Prober
	Sink   Sink
	Meter  *Meter // may be nil
	// Past is what an earlier run did of the span, as its journal has it; nil: nothing. Its answers are not
	// given to the sink again.
	Past *Past
	// Mark, if not nil, is told now and then how far the span is, so that a later run can go on
	// from there. It is called from the goroutine that calls Sink, after the answers that it covers.
	Mark func(Mark) error
	// Nobody, if not nil, is asked when the span is over, for each address that was silent throughout, whether no neighbour has it.
	Nobody func(netip.Addr) bool
}

// A Mark says how far a span is.
type Mark struct {
	Pass    uint8         // the pass at hand, from 1; 0: the span is over
	Done    uint64        // how many places of this pass, in its order, are accounted for: answered, or waited for to the end
	Heard   bool          // this pass heard something new
	Probes  uint64        // sent so far
	Elapsed time.Duration // spent so far
	Limited []netip.Addr  // hosts seen so far to limit their refusals
	GaveUp  []netip.Addr  // hosts whose time is over
	// Of a span that is over:
	Attempts uint8        // passes that were made
	Nobody   []netip.Addr // addresses that no neighbour has
	Unsent   []Span       // runs of places, counted from the span's first, whose last probe stayed here
	LocalErr string       // why, if anything did
}

// Past is what an earlier run did of a span.
type Past struct {
	Mark
	Answers iter.Seq[probe.Result] // in the order in which they were given to the sink
}

// An event is what the prober's side hands to the sink's: an answer, or a mark that covers all before it.
type event struct {
	answer probe.Result
	mark   *Mark
}

// Run scans one span of a plan and returns what came of it. The sink has had every answer
// when Run returns; it is called from one goroutine.
//
// When ctx ends, Run ends at once, and the summary, of what was found so far, is marked
// incomplete; the error is ctx's cause. An error of the sink, or of Mark, ends the scan in the same way.
func Run(ctx context.Context, job Job) (Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if job.Meter == nil {
		job.Meter = new(Meter)
	}
	q := newQueue(&job)
	events := make(chan event, resultsBuffered)
	probed := make(chan error, 1)
	go func() {
		defer close(events)
		h := &handover{q: q, events: events, marks: job.Mark != nil}
		stop := h.tick()
		err := job.Prober.Probe(ctx, q, h.report)
		stop()
		probed <- err
	}()
	sinkErr := job.deliver(events, cancel)
	err := <-probed
	if err == nil {
		err = ctx.Err() // the prober ended because the queue did
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	if err == nil && job.Nobody != nil && (job.Past == nil || job.Past.Pass > 0) {
		q.findNobody(job.Nobody)
	}
	if sinkErr == nil && job.Mark != nil {
		sinkErr = job.Mark(q.mark())
	}
	if sinkErr != nil {
		err = sinkErr
	}
	return summarise(q, err == nil), err
}

// A handover is where the prober's side hands answers to the sink's, and tells now and then how far it is: what is silent brings no
// answers. A mark goes the way of the answers, so that it never overtakes one.
type handover struct {
	q      *queue
	events chan<- event
	marks  bool

	mu   sync.Mutex // while an answer, or a mark, is on its way into events; guards pass
	pass uint8      // of the last mark
}

// report takes in one report.
func (h *handover) report(r probe.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.q.take(&r) {
		h.events <- event{answer: r}
	}
	if h.marks && r.Attempt > h.pass {
		h.pass = r.Attempt
		h.mark()
	}
}

func (h *handover) mark() {
	m := h.q.mark()
	h.events <- event{mark: &m}
}

// tick marks now and then, until the function that it returns is called.
func (h *handover) tick() (stop func()) {
	if !h.marks {
		return func() {}
	}
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(markEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				h.mu.Lock()
				h.mark()
				h.mu.Unlock()
			}
		}
	})
	return func() {
		close(done)
		ticking.Wait()
	}
}

// deliver gives the answers to the sink until there are no more. When the sink fails it stops
// the scan, and takes what still comes: the prober may be waiting to hand it over.
func (job *Job) deliver(events <-chan event, stop context.CancelCauseFunc) (failed error) {
	answers := make([]probe.Result, 0, resultsBuffered)
	for e := range events {
		if len(answers) > pouring { // being woken for each costs more than all that is done with it
			time.Sleep(pourTime)
		}
		answers = answers[:0]
		for e.mark == nil {
			answers = append(answers, e.answer)
			if len(events) == 0 || len(answers) == cap(answers) {
				break
			}
			e = <-events
		}
		if failed != nil {
			continue
		}
		if failed = job.put(answers, e.mark); failed != nil {
			stop(failed)
		}
	}
	return failed
}

func (job *Job) put(answers []probe.Result, mark *Mark) error {
	if len(answers) > 0 {
		if err := job.Sink.Put(answers); err != nil {
			return err
		}
	}
	if mark != nil {
		return job.Mark(*mark)
	}
	return nil
}
