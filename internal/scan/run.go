package scan

import (
	"context"
	"errors"
	"time"

	"sonde/internal/probe"
)

// resultsBuffered is how many answers may wait for the sink; then the prober waits too.
const resultsBuffered = 4096

// Run scans one span of plan and returns what came of it. The sink has had every answer
// when Run returns; it is called from one goroutine. meter may be nil.
//
// When ctx ends, Run ends at once, and the summary, of what was found so far, is marked
// incomplete; the error is ctx's cause. An error of the sink ends the scan in the same way.
func Run(ctx context.Context, plan Plan, span Span, prober Prober, sink Sink, meter *Meter) (Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if meter == nil {
		meter = new(Meter)
	}
	q := newQueue(&plan, span, meter)
	start := time.Now()
	results := make(chan probe.Result, resultsBuffered)
	probed := make(chan error, 1)
	go func() {
		defer close(results)
		probed <- prober.Probe(ctx, q, func(r probe.Result) {
			if q.take(r) {
				results <- r
			}
		})
	}()
	sinkErr := deliver(results, sink, cancel)
	err := <-probed
	if err == nil {
		err = ctx.Err() // the prober ended because the queue did
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	if sinkErr != nil {
		err = sinkErr
	}
	return summarise(q, time.Since(start), err == nil), err
}

// deliver gives the answers to the sink until there are no more. When the sink fails it stops
// the scan, and takes what still comes: the prober may be waiting to hand it over.
func deliver(results <-chan probe.Result, sink Sink, stop context.CancelCauseFunc) (failed error) {
	answers := make([]probe.Result, 0, 256)
	for r := range results {
		answers = append(answers[:0], r)
		for len(results) > 0 && len(answers) < cap(answers) {
			answers = append(answers, <-results)
		}
		if failed != nil {
			continue
		}
		if failed = sink.Put(answers); failed != nil {
			stop(failed)
		}
	}
	return failed
}
