package cli

import (
	"errors"
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
	early    *measure.Event // the first connection that was not to be had before one was
}

func newPingText(p *pinger) *pingText {
	t := &pingText{pinger: p, begun: time.Now(), troubles: map[measure.EventKind]int{}}
	if width, _, err := term.GetSize(int(p.err.Fd())); err == nil {
		t.onScreen, t.width = true, width
	}
	t.told = t.begun
	return t
}

// How many events of a kind are told; all are counted. Damage mostly comes in numbers.
const (
	mostTroubles = 10
	mostDamages  = 3
)

func (t *pingText) event(e measure.Event) {
	switch e.Kind {
	case measure.Opened:
		t.open(e)
		return
	case measure.NotOpen:
		if t.connect {
			return // its reply tells
		}
		if t.opened == 0 {
			if t.early == nil {
				t.early = &e
			}
			return // the command ends with it, or one opens yet
		}
	case measure.Damaged:
		var d *measure.Damage
		if errors.As(e.Err, &d) && d.Kind != measure.Foreign && t.live() {
			return // its reply tells
		}
	}
	t.tellTrouble(e)
}

func (t *pingText) tellTrouble(e measure.Event) {
	t.hide()
	most, further := mostTroubles, "more of this kind is counted only"
	if e.Kind == measure.Damaged {
		most, further = mostDamages, "further damage is counted only"
	}
	if t.troubles[e.Kind]++; t.troubles[e.Kind] > most {
		return
	}
	t.warn("%s", t.trouble(e))
	if t.troubles[e.Kind] == most {
		t.warn("%s", further)
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
	t.opened++
	switch {
	case t.opened > 1 && !t.connect && t.connections == 1 && t.search == "" && t.udp:
		t.note("a new socket, from %v", e.Local)
	case t.opened > 1 && !t.connect && t.connections == 1 && t.search == "":
		t.note("connected again from %v, connect %s%s", e.Local, pingTime(e.Phases.Connect), t.tlsTime(e.Phases))
	}
	if t.opened == 1 && t.early != nil {
		defer t.tellTrouble(*t.early)
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
	if r.Service == 0 { // it is forgotten when it was sent
		words = "long ago"
	}
	switch {
	case r.Fate == measure.Unsent:
		return fmt.Sprintf("unsent: %v", r.Err)
	case r.Fate == measure.Lost:
		return t.lostWords(r)
	case t.connect:
		words = "connected in " + words + t.tlsTime(r.Phases)
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

func (t *pingText) lostWords(r measure.Reply) string {
	var refused *measure.RefusedError
	switch {
	case r.Err == nil:
		return fmt.Sprintf("no reply within %v", t.timeout)
	case t.connect:
		return r.Err.Error()
	case errors.As(r.Err, &refused):
		return "lost, " + refused.Error()
	}
	return "lost, the connection " + brokenBy(r.Err)
}

const progressPlain = 5 * time.Second // off a terminal a line comes so often

func (t *pingText) progress(c measure.Counts) {
	if t.quiet {
		return
	}
	elapsed := time.Since(t.begun)
	if t.onScreen {
		fmt.Fprintf(t.err, "\r%.*s\x1b[K", t.width-1, shortLine(c, elapsed))
		t.shown = true
		return
	}
	if time.Since(t.told) >= progressPlain {
		t.told = time.Now()
		t.note("%s", t.countsLine(c, elapsed))
	}
}

// A part is a number and what there are so many of, told if there are any.
type part struct {
	n    uint64
	what string
}

// parts words those of which there are any, each behind before.
func parts(before string, all ...part) (s string) {
	for _, p := range all {
		if p.n > 0 {
			s += fmt.Sprintf("%s%d %s", before, p.n, p.what)
		}
	}
	return s
}

// shortLine fits a screen of 80 columns: what there is none of is left out.
func shortLine(c measure.Counts, elapsed time.Duration) string {
	return fmt.Sprintf("%s in %s: %d answered", quantity(c.Probes, "probe"), pingTime(elapsed), c.Answered) +
		parts(", ", part{c.Lost, "lost"}, part{c.Late, "late"}, part{c.Corrupt, "corrupt"}, part{c.Unsent, "unsent"}, part{c.Pending, "in flight"})
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
	s += parts(", ", part{c.Unsent, "unsent"}, part{c.Pending, "in flight"})
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
