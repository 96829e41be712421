package measure

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sonde/internal/dial"
	"sonde/internal/pace"
	"sonde/internal/sock"
)

// mostKnocks is how many connections are in the making at once, where a timetable asks for them.
const mostKnocks = 4096

// A knocker is one call of Knock.
type knocker struct {
	Plan
	start   time.Time
	tickets atomic.Int64

	mu     sync.Mutex // guards all below
	report Report
	last   time.Duration // when the last probe began
	first  time.Duration
	heard  bool
	before time.Duration // the last connect time
	jitter float64
}

// Knock measures connections alone: each probe is a fresh one, which is ended by a reset when it stands. A probe's Service time
// is that of TCP's handshake, its Latency the time from when it was to begin until the connection stood, TLS included.
// With Rate as many go side by side as it takes, up to a bound, without it Connections.
//
// A connection that is refused is lost, and Refused; its Reply has the reason. How long is waited for one is Dial's affair.
func Knock(ctx context.Context, p Plan) (*Report, error) { return knock(ctx, p, pace.Precise()) }

func knock(ctx context.Context, p Plan, alarm *pace.Alarm) (*Report, error) {
	defer alarm.Close()
	k := &knocker{Plan: p, start: time.Now(), first: -1, report: *NewReport()}
	k.tickets.Store(int64(p.most()))
	stop := k.tell()
	if p.Rate > 0 {
		k.byTable(ctx, alarm)
	} else {
		k.inTurn(ctx)
	}
	stop()
	r := &k.report
	r.Connect, r.Elapsed, r.Asked, r.Interrupted = r.Service, time.Since(k.start), p.Rate, ctx.Err() != nil
	if r.Jitter = time.Duration(k.jitter); r.Answered > 1 {
		r.JitterOf = 1
	}
	if sent := r.Probes - r.Unsent; k.last > k.first && sent > 1 {
		r.Achieved = float64(sent-1) / (k.last - k.first).Seconds()
	}
	return r, nil
}

// tell tells of the progress once a second until the function it returns is called.
func (k *knocker) tell() (stop func()) {
	if k.Progress == nil {
		return func() {}
	}
	tick, done := time.NewTicker(time.Second), make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		for {
			select {
			case <-tick.C:
				k.mu.Lock()
				k.Progress(k.report.Counts)
				k.mu.Unlock()
			case <-done:
				return
			}
		}
	})
	return func() {
		tick.Stop()
		close(done)
		told.Wait()
	}
}

// byTable begins what is due, whatever became of those before. Where no more fit side by side a probe is unsent.
func (k *knocker) byTable(ctx context.Context, alarm *pace.Alarm) {
	table, total := pace.NewTimetable(k.start, k.Rate), k.most()
	places := make(chan struct{}, mostKnocks)
	var all sync.WaitGroup
	defer all.Wait()
	for given := uint64(0); given < total; {
		for due := table.Due(time.Now(), total); given < due; given++ {
			seq := given
			select {
			case places <- struct{}{}:
				all.Go(func() {
					k.one(ctx, int(seq), seq, table.At(seq))
					<-places
				})
			default:
				k.begin(time.Since(k.start))
				k.end(Reply{Conn: int(seq), Seq: seq, Fate: Unsent, Err: ErrFull})
			}
		}
		if given < total && alarm.Wait(ctx, table.At(given)) != nil {
			return
		}
	}
	k.report.Stalled = table.Moved()
}

func (k *knocker) inTurn(ctx context.Context) {
	var all sync.WaitGroup
	var seq atomic.Uint64
	for i := range k.Connections {
		all.Go(func() {
			for ctx.Err() == nil && k.tickets.Add(-1) >= 0 && (k.Duration == 0 || time.Since(k.start) < k.Duration) {
				k.one(ctx, i, seq.Add(1)-1, time.Now())
			}
		})
	}
	all.Wait()
}

// one makes a connection and ends it.
func (k *knocker) one(ctx context.Context, index int, seq uint64, intended time.Time) {
	began := time.Now()
	k.begin(began.Sub(k.start))
	conn, phases, err := k.Dial(ctx)
	reply := Reply{Conn: index, Seq: seq, Fate: Answered, Latency: time.Since(intended), Service: phases.Connect, Phases: phases, Err: err}
	switch {
	case err == nil:
		if k.Event != nil {
			k.event(Event{Kind: Opened, Conn: index, Phases: phases, Local: conn.LocalAddr(), Remote: conn.RemoteAddr()})
		}
		dial.Abandon(conn)
	case ctx.Err() != nil:
		return // pending: it was interrupted
	case sock.IsLimit(err):
		reply.Fate = Unsent
	default:
		reply.Fate = Lost
	}
	k.end(reply)
}

func (k *knocker) begin(at time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first < 0 {
		k.first = at
	}
	k.last = max(k.last, at)
	k.report.Probes++
	k.report.Pending++
}

func (k *knocker) event(e Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Event(e)
}

// end counts a probe, and tells of it.
func (k *knocker) end(reply Reply) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.report.Pending--
	switch reply.Fate {
	case Answered:
		k.made(reply)
	case Unsent:
		k.report.Unsent++
	default:
		k.report.Lost++
		if isRefusal(reply.Err) {
			k.report.Refused++
		}
	}
	if reply.Err != nil && k.Event != nil {
		k.Event(Event{Kind: NotOpen, Conn: reply.Conn, Err: reply.Err})
	}
	if k.Reply != nil {
		k.Reply(reply)
	}
}

// made takes a connection's times in. The lock is held.
func (k *knocker) made(reply Reply) {
	phases := reply.Phases
	k.report.Answered++
	k.report.Latency.Record(reply.Latency)
	k.report.Service.Record(phases.Connect)
	if phases.TLS > 0 {
		k.report.TLS.Record(phases.TLS)
	}
	if k.heard {
		d := float64(phases.Connect - k.before)
		k.jitter += (max(d, -d) - k.jitter) / 16
	}
	k.heard, k.before = true, phases.Connect
}

// isRefusal reports whether somebody said that there is no connection, rather than nobody anything.
func isRefusal(err error) bool {
	var refused *dial.Error
	return errors.As(err, &refused) && refused.Ending == sock.Reset
}
