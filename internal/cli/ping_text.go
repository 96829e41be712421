package cli

import (
	"fmt"
	"time"

	"golang.org/x/term"

	"sonde/internal/measure"
)

// A pingText tells a person. The results go to standard output, what is of the moment to standard error.
type pingText struct {
	*pinger
	begun    time.Time
	opened   int
	onScreen bool // standard error is a terminal: progress is one line there
	width    int
	shown    bool // the progress line
	told     time.Time
	troubles map[measure.EventKind]int
	reason   string // why the connection of the reply to come failed
	phases   measure.Phases
}

func newPingText(p *pinger) *pingText {
	t := &pingText{pinger: p, begun: time.Now(), troubles: map[measure.EventKind]int{}}
	if width, _, err := term.GetSize(int(p.err.Fd())); err == nil {
		t.onScreen, t.width = true, width
	}
	t.told = t.begun
	return t
}

// mostTroubles is how many events of a kind are told; all are counted.
const mostTroubles = 10

func (t *pingText) event(e measure.Event) {
	switch e.Kind {
	case measure.Opened:
		t.open(e)
		return
	case measure.NotOpen:
		if t.connect {
			t.reason = e.Err.Error()
			return
		}
		if t.opened == 0 {
			return // the command ends with it
		}
	}
	t.hide()
	if t.troubles[e.Kind]++; t.troubles[e.Kind] > mostTroubles {
		return
	}
	t.warn("%s", t.trouble(e))
	if t.troubles[e.Kind] == mostTroubles {
		t.warn("there may be more of this kind, which is not told but counted")
	}
}

// trouble words an event.
func (t *pingText) trouble(e measure.Event) string {
	which := "the connection"
	if t.connections > 1 {
		which = fmt.Sprintf("connection %d", e.Conn)
	}
	switch e.Kind {
	case measure.NotOpen:
		return fmt.Sprintf("%s is not to be had: %v; trying again each second", which, e.Err)
	case measure.Broken:
		return fmt.Sprintf("%s %s, %s in flight; making it again", which, brokenBy(e.Err), quantity(e.Lost, "probe"))
	}
	if t.connections > 1 {
		return fmt.Sprintf("%s: %v", which, e.Err)
	}
	return e.Err.Error()
}

// open tells of a connection: of the first of them, if there are several.
func (t *pingText) open(e measure.Event) {
	t.phases = e.Phases
	t.opened++
	if t.opened > 1 && !t.connect && t.connections == 1 {
		t.note("connected again from %v, connect %s%s", e.Local, pingTime(e.Phases.Connect), t.tlsTime(e.Phases))
	}
	if t.opened > 1 || t.quiet || t.search != "" {
		return
	}
	line := fmt.Sprintf("ping %v", e.Remote)
	if t.resolved > 0 {
		line += fmt.Sprintf(" (%s, resolved in %s)", t.host, pingTime(t.resolved))
	}
	line += " over " + t.protocol()
	switch {
	case t.connect:
		line += ", connections alone"
	case t.connections > 1:
		line += fmt.Sprintf(", %d bytes each, %d connections", t.size, t.connections)
	case t.udp:
		line += fmt.Sprintf(", %d bytes each, from %v", t.size, e.Local)
	default:
		line += fmt.Sprintf(", %d bytes each, from %v: connect %s%s", t.size, e.Local, pingTime(e.Phases.Connect), t.tlsTime(e.Phases))
	}
	fmt.Fprintln(t.out, line)
}

func (t *pingText) tlsTime(p measure.Phases) string {
	if p.TLS == 0 {
		return ""
	}
	return ", TLS " + pingTime(p.TLS)
}

func (p *pinger) protocol() string {
	switch {
	case p.udp:
		return "UDP"
	case p.tls:
		return "TLS"
	}
	return "TCP"
}

func (t *pingText) reply(r measure.Reply) {
	fmt.Fprintf(t.out, "seq %d: %s\n", r.Seq, t.replyWords(r))
}

func (t *pingText) replyWords(r measure.Reply) string {
	words := pingTime(r.Service)
	switch {
	case t.connect && r.Fate == measure.Lost:
		return t.reason
	case t.connect:
		words = "connected in " + words + t.tlsTime(t.phases)
	case r.Fate == measure.Lost:
		return fmt.Sprintf("no reply within %v", t.timeout)
	case r.Damage != nil:
		return fmt.Sprintf("damaged: %v", r.Damage)
	case r.Fate == measure.Late:
		words += ", late"
	case r.Fate == measure.Doubled:
		words += ", doubled"
	}
	if r.Reordered {
		words += ", out of order"
	}
	return words
}

const progressPlain = 5 * time.Second // off a terminal a line comes so often

func (t *pingText) progress(c measure.Counts) {
	if t.quiet {
		return
	}
	line := t.countsLine(c, time.Since(t.begun))
	if t.onScreen {
		fmt.Fprintf(t.err, "\r%.*s\x1b[K", t.width-1, line)
		t.shown = true
		return
	}
	if time.Since(t.told) >= progressPlain {
		t.told = time.Now()
		t.note("%s", line)
	}
}

func (t *pingText) hide() {
	if t.shown {
		fmt.Fprint(t.err, "\r\x1b[K")
		t.shown = false
	}
}

// countsLine is what became of the probes: each is in one of the first places.
func (t *pingText) countsLine(c measure.Counts, elapsed time.Duration) string {
	s := fmt.Sprintf("%s in %s: %d answered, %d lost, %d late, %d corrupt", quantity(c.Probes, "probe"), pingTime(elapsed), c.Answered, c.Lost, c.Late, c.Corrupt)
	for _, part := range []struct {
		n    uint64
		what string
	}{{c.Unsent, "unsent"}, {c.Pending, "in flight"}} {
		if part.n > 0 {
			s += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	if !t.connect {
		s += fmt.Sprintf("; %d doubled, %d reordered", c.Doubled, c.Reordered)
	}
	return s
}

func perSecondWords(rate float64) string {
	if rate < 100 {
		return fmt.Sprintf("%.3g/s", rate)
	}
	return fmt.Sprintf("%.0f/s", rate)
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
	fmt.Fprintf(t.out, "%s: %s, %s%s\n", perSecondWords(s.Rate), t.measured(s.Report), verdict, again)
}

// measured is what the condition looks at.
func (p *pinger) measured(r *measure.Report) string {
	value, loss := p.condition.Value(r)
	switch {
	case p.condition.What == "loss":
		return "loss " + percent(loss)
	case value == measure.Forever:
		return fmt.Sprintf("%s endless (loss %s)", p.condition.What, percent(loss))
	}
	return p.condition.What + " " + pingTime(value)
}

func (t *pingText) found(f measure.Finding) {
	if f.Rate == 0 {
		return // the command's error tells
	}
	line := fmt.Sprintf("%v is kept up to %s", t.condition, perSecondWords(f.Rate))
	if f.Limited {
		line += ", the most that this machine sends: the server may bear more"
	}
	fmt.Fprintln(t.out, line)
}
