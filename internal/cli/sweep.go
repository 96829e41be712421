package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"sonde/internal/journal"
	"sonde/internal/pace"
	"sonde/internal/probe"
	"sonde/internal/probe/connect"
	"sonde/internal/probe/ping"
	"sonde/internal/probe/udp"
	"sonde/internal/report"
	"sonde/internal/route"
	"sonde/internal/scan"
	"sonde/internal/sock"
	"sonde/internal/target"
)

// A sweep is one scan on its way: zone after zone, stage after stage. Each stage is a plan of its own.
type sweep struct {
	*scanner
	found   *found
	journal *journal.Journal // nil without one
	out     *tee
	meter   *scan.Meter
	line    *progress
	names   *reverse     // nil without --reverse
	high    target.Ports // nobody listens there
	total   scan.Summary
	planned uint64 // targets in all
	hosts   uint64
}

// A zone is targets that are treated alike: addresses nearby, or public ones.
type zone struct {
	name    string
	space   target.Space
	rate    *pace.Rate
	perHost int    // connections at once to one host; 0: no bound
	repeats uint8  // SYNs that the kernel sends for one connection
	spans   uint64 // targets in each span
	probers scan.Mux
}

// A pacing is how fast a zone is asked: probes a second and connections at once to one host. 0: no limit.
type pacing struct {
	rate    float64
	perHost int
}

// pacing returns how fast addresses nearby are asked, or public ones, and says which limits are nobody's wish.
func (s *scanner) pacing(public bool) (p pacing, limits []string) {
	p.rate = float64(s.rate)
	switch {
	case s.rate == mostRate:
		p.rate = 0
	case s.rate == 0 && public:
		p.rate = publicRate
		limits = append(limits, "1,000 probes a second (--rate)")
	case s.rate == 0 && s.syn:
		p.rate = synRate
		limits = append(limits, "100,000 probes a second (--rate)")
	}
	if public && s.concurrency == 0 && !s.syn {
		p.perHost = publicPerHost
		limits = append(limits, "100 connections at once to each host (--concurrency)")
	}
	return p, limits
}

// zones parts what was found: the addresses nearby first.
func (s *scanner) zones(found *found, line *progress) []*zone {
	var zones []*zone
	add := func(name, who string, public bool, space target.Space) {
		if space.Len() == 0 {
			return
		}
		p, limits := s.pacing(public)
		if len(limits) > 0 {
			s.note("%s get at most %s", who, strings.Join(limits, " and "))
		}
		zones = append(zones, s.zone(name, space, p, line))
	}
	add("nearby", "addresses nearby", false, found.local)
	add("public", "public addresses", true, found.public)
	return zones
}

func (s *scanner) zone(name string, space target.Space, p pacing, line *progress) *zone {
	z := &zone{name: name, space: space, perHost: p.perHost, spans: largestSpan}
	rate := p.rate
	if z.repeats = s.repeats(space); z.repeats > 1 {
		rate /= float64(z.repeats)
	}
	if s.syn {
		z.spans = largestSYNSpan
	}
	switch {
	case rate > 0:
		z.rate = pace.NewRate(rate)
		z.spans = max(smallestSpan, min(z.spans, uint64(rate*spanTime.Seconds())))
	case s.syn: // it is lowered when it has to be
		z.rate = pace.NewRate(mostRate)
	}
	short := func(err error) {
		s.shortage.Do(func() {
			line.hide()
			s.warn("%v: the scan goes on with fewer probes at once", err)
		})
	}
	z.probers = scan.Mux{
		probe.TCP: &connect.Prober{Timeout: s.timeout, Concurrency: s.concurrency, PerHost: p.perHost,
			Source4: s.source4, Source6: s.source6, Interface: s.iface, Rate: z.rate, OnShortage: short},
		probe.UDP:  &udp.Prober{Timeout: s.timeout, Source4: s.source4, Source6: s.source6, Interface: s.iface, Rate: z.rate, OnShortage: short},
		probe.Echo: &ping.Prober{Timeout: s.timeout, Source4: s.source4, Source6: s.source6, Interface: s.iface},
	}
	if s.open != nil {
		z.probers[probe.TCP] = s.open.prober(z.rate, rate)
	}
	return z
}

// plan is how a zone asks for some targets: as all its stages do, at one rate for all.
func (s *scanner) plan(z *zone, space target.Space) scan.Plan {
	plan := s.order(space)
	plan.Rate, plan.Timeout, plan.HostTimeout, plan.Recall = z.rate, s.timeout, s.hostTimeout, s.recall/100
	plan.Attempts = s.attempts
	if s.attempts > 1 {
		plan.Attempts = max(2, s.attempts/z.repeats)
	}
	return plan
}

// order is the plan that says in which order targets are asked, and no more.
func (s *scanner) order(space target.Space) scan.Plan {
	plan := scan.NewPlan(space, s.seed)
	if s.maxPerHost > 0 {
		return plan.Spread(s.maxPerHost / float64(s.repeats(space)))
	}
	return plan
}

// repeats is how many SYNs the kernel sends for one connection: it sends one again each second by itself. They count as attempts, and for the
// rates.
func (s *scanner) repeats(space target.Space) uint8 {
	if !space.Has(probe.TCP) || s.syn {
		return 1
	}
	return uint8(min(255, (s.timeout+time.Second-1)/time.Second))
}

// prober is who asks for some targets: those whose protocol is among them.
func (z *zone) prober(space target.Space) scan.Prober {
	m := scan.Mux{}
	for proto, p := range z.probers {
		if space.Has(proto) {
			m[proto] = p
		}
	}
	return m
}

// sweep carries out what was found and reports.
func (s *scanner) sweep(ctx context.Context, found *found) error {
	s.started = time.Now()
	if err := s.openSYN(ctx, found); err != nil {
		return err
	}
	defer s.open.close()
	w := &sweep{scanner: s, found: found, meter: &scan.Meter{}, high: scan.DrawHighPorts(s.seed), total: scan.Summary{Complete: true}}
	w.line = s.newProgress()
	stdout := &impatient{out: interruptible(s.app.out)}
	var err error
	if w.out, err = s.out.open(w.line.over(stdout), s.options(found)); err != nil {
		return err
	}
	if w.journal, err = s.keep(found); err == nil {
		err = w.out.begin()
	}
	if err != nil {
		w.out.discard()
		return err
	}
	defer w.journal.Close()
	if s.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.maxTime, errMaxTime)
		defer cancel()
	}
	// A reader that does not read must not keep a scan that was interrupted; one that does has time for what was found.
	defer context.AfterFunc(ctx, stdout.hurry)()
	if s.reverse {
		w.names = newReverse(ctx)
		defer w.names.close()
	}
	start := time.Now()
	w.line.start()
	zones := s.zones(found, w.line)
	for _, z := range zones {
		w.planned, w.hosts = w.planned+z.space.Len(), w.hosts+z.space.Hosts()
	}
	for _, z := range zones {
		if err = w.zone(ctx, z); err != nil {
			break
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	w.line.close()
	s.tellStrangers()
	if s.resumed == nil { // else the time of the earlier runs is in the spans'
		w.total.Elapsed = time.Since(start)
	}
	return w.finish(err)
}

func (s *scanner) options(found *found) report.Options {
	tty := term.IsTerminal(int(s.app.out.Fd()))
	about := report.Scan{Args: s.args, Version: version(), Start: s.started, Seed: s.seed, Shard: s.shard.String(),
		Ports: found.local.AllPorts().Union(found.public.AllPorts()), Hosts: found.local.Hosts() + found.public.Hosts()}
	if s.syn {
		about.Method = probe.SYN
	}
	if s.resumed != nil {
		h := s.resumed.Header()
		about.Args, about.Version, about.Start = h.Args, h.Version, h.Start
	}
	return report.Options{OpenOnly: s.openOnly, Verbose: s.verbose, Reason: s.reason, Names: found.names,
		Color: tty && os.Getenv("NO_COLOR") == "", Scan: about}
}

// zone carries out the stages of a zone.
func (w *sweep) zone(ctx context.Context, z *zone) error {
	space := z.space
	if w.alive {
		var err error
		if space, err = w.findAlive(ctx, z); err != nil {
			return err
		}
	}
	plan, spans, err := w.begin(z, z.name, space)
	if err != nil {
		return err
	}
	part := plan.Whole()
	if w.alive { // the shard was taken of the hosts
		asked := w.shard.hosts(z.space)
		w.total.Skipped += asked.Hi - asked.Lo - plan.Space.Hosts()
		w.hosts -= z.space.Hosts() - plan.Space.Hosts()
	} else {
		part = w.shard.of(&plan)
	}
	w.planned -= z.space.Len() - (part.Hi - part.Lo)
	w.line.watch(w.meter, w.planned, "")
	held := &claims{out: w.out, names: w.names, all: w.banner}
	st := stage{plan: plan, part: part, spans: spans, prober: z.prober(plan.Space), sink: held, meter: w.meter}
	return w.carryOut(ctx, st, func(s *scan.Summary, whole bool) error { return w.settle(ctx, z, held, s, whole) })
}

// A stage is a plan, who carries it out and where its answers go.
type stage struct {
	plan   scan.Plan
	part   scan.Span // the places that are asked
	spans  uint64    // targets in each span
	prober scan.Prober
	sink   scan.Sink
	meter  *scan.Meter // may be nil
}

// begin makes the plan of a stage and notes it in the journal. In a scan that goes on it is the one that the journal has.
func (w *sweep) begin(z *zone, name string, space target.Space) (plan scan.Plan, spans uint64, err error) {
	plan = w.plan(z, space)
	st, err := w.journal.Begin(journal.Stage{Name: name, Space: space, Seed: plan.Seed, Attempts: plan.Attempts, Timeout: plan.Timeout, SpanSize: z.spans})
	return w.plan(z, st.Space), st.SpanSize, err
}

// carryOut runs a stage, span by span, and gives what came of each to done, that of a span that was interrupted too.
func (w *sweep) carryOut(ctx context.Context, st stage, done func(s *scan.Summary, whole bool) error) error {
	for span := range st.plan.Spans(st.part, st.spans) {
		if err := w.carrySpan(ctx, st, span, done); err != nil {
			return err
		}
	}
	return w.journal.EndStage()
}

func (w *sweep) carrySpan(ctx context.Context, st stage, span scan.Span, done func(s *scan.Summary, whole bool) error) error {
	past, err := w.journal.Span(span)
	if err != nil {
		return err
	}
	if err := w.journal.Replay(past, st.sink); err != nil {
		return err
	}
	job := scan.Job{Plan: st.plan, Span: span, Prober: st.prober, Sink: st.sink, Meter: st.meter, Past: past, Nobody: noNeighbor()}
	if w.journal != nil {
		job.Sink, job.Mark = both{w.journal, st.sink}, w.journal.Mark
	}
	s, err := scan.Run(ctx, job)
	if derr := done(&s, err == nil); err == nil {
		err = derr
	}
	if err != nil {
		return err
	}
	return w.journal.EndSpan()
}

// both gives answers to the journal first: what is reported is kept.
type both struct{ first, second scan.Sink }

// Put implements scan.Sink.
func (b both) Put(answers []probe.Result) error {
	if err := b.first.Put(answers); err != nil {
		return err
	}
	return b.second.Put(answers)
}

// settle ends a span: what was accepted is proved or withdrawn, then its hosts are reported.
func (w *sweep) settle(ctx context.Context, z *zone, held *claims, s *scan.Summary, whole bool) error {
	var err error
	if whole {
		err = w.verify(ctx, z, held, s)
	} else if ctx.Err() != nil {
		w.verifyInHaste(ctx, z, held, s)
	}
	if rerr := held.release(); err == nil {
		err = rerr
	}
	w.total = w.total.Add(*s)
	if rerr := w.out.span(s.Hosts, w.described(s)); err == nil {
		err = rerr
	}
	return err
}

// finish closes the outputs and gives the scan's ending its exit code.
func (w *sweep) finish(err error) error {
	total := w.total
	total.Undecided += w.planned - total.Targets // of the spans that were not begun
	total.Targets = w.planned
	if w.shard.n == 0 { // a shard may hold some ports of a host only: the spans know which
		total.Hosts = w.hosts
	}
	outOfTime := errors.Is(err, errMaxTime)
	if outOfTime {
		err = nil
	}
	total.Complete = total.Complete && err == nil && total.Undecided == 0
	if err == nil && !outOfTime {
		err = w.journal.End()
	}
	var sig signalError
	if cerr := w.out.close(total, err == nil); err == nil {
		err = cerr
	}
	switch {
	case errors.Is(err, sock.ErrBrokenPipe):
		if left := w.out.leftPartial(); left != "" {
			return failure(errors.New("the reader of standard output went away before the end" + left))
		}
		return w.failOn.check(total) // the reader has had enough
	case errors.As(err, &sig):
		w.note("%v: this is what was found until then%s", sig, w.out.leftPartial())
		w.tellHowToGoOn()
		return exitWith(128 + int(sig))
	case errors.Is(err, route.ErrDown):
		w.note("this is what was found until then%s", w.out.leftPartial())
		w.tellHowToGoOn()
		return failure(err, "silence says nothing while it is down: bring it up, and scan again")
	case err != nil:
		return journalError(err, w.journal.Path())
	case errors.Is(total.LocalErr, scan.ErrLost) && total.Undecided > 0 && !outOfTime:
		return failure(fmt.Errorf("%s have no verdict: %w", quantity(total.Undecided, "port"), total.LocalErr), "scan again with a lower --rate")
	case total.LocalErr != nil && total.Undecided > 0 && !outOfTime:
		return failure(fmt.Errorf("%s could not be asked: %w", quantity(total.Undecided, "port"), total.LocalErr),
			"this says nothing of the target: look at this machine's routes, addresses and firewall ('ip route get ADDRESS')")
	}
	if outOfTime {
		w.note("the time of --max-time %v is over: this is what was found until then", w.maxTime)
		w.tellHowToGoOn()
	}
	w.tellRecall(&total)
	return w.failOn.check(total)
}

// tellHowToGoOn says what the journal of a scan that was cut short is good for.
func (w *sweep) tellHowToGoOn() {
	if w.journal != nil {
		w.note("the rest can be scanned: sonde scan --resume %s", w.journal.Path())
	}
}

// tellRecall says when what was asked for cannot be vouched for.
func (w *sweep) tellRecall(total *scan.Summary) {
	switch {
	case w.recall == 0:
	case total.Answered == 0:
		w.warn("a recall of %v %% cannot be vouched for: nothing answered, so nothing tells how much is lost", w.recall)
	case total.Missed.Recall() < w.recall/100:
		w.warn("a recall of %v %% was not reached: %.2f %% is what %s bears out", w.recall, 100*total.Missed.Recall(), quantity(total.Answered, "answer"))
	}
}

var errMaxTime = errors.New("the time of --max-time is over")
