package cli

import (
	"fmt"
	"strings"
	"time"

	"sonde/internal/measure"
)

// summary tells what became of the probes. Of a measurement that failed the command's error tells.
func (t *pingText) summary(r *measure.Report, err error) {
	t.hide()
	if err != nil {
		return
	}
	out := t.out
	fmt.Fprintf(out, "%s; %s\n", t.countsLine(r.Counts, r.Elapsed), lossWords(r.Counts))
	t.beside(r)
	if r.Latency.N() > 0 {
		t.times(r)
		if facts := t.facts(r); len(facts) > 0 {
			fmt.Fprintln(out, strings.Join(facts, ", "))
		}
	}
	if t.histogram && r.Latency.N() > 0 {
		drawHistogram(out, r.Latency, outputWidth(t.pinger))
	}
	t.ownLimits(r)
}

// lossWords tells the loss, and what failed if that is not the same.
func lossWords(c measure.Counts) string {
	words := "loss -" // nothing is known yet, or nothing was sent
	if c.Sent() > 0 {
		words = "loss " + percent(c.Loss())
	}
	if c.Failed() != c.Loss() {
		words += ", failed " + percent(c.Failed())
	}
	return words
}

// beside tells of what there mostly is none of.
func (t *pingText) beside(r *measure.Report) {
	fmt.Fprint(t.out, parts("", part{r.Truncated, "of the corrupt came short\n"}, part{r.Foreign, "foreign, nothing of ours\n"}, part{r.Refused, "refused\n"}))
	if r.Broken > 0 {
		fmt.Fprintf(t.out, "%s broke %s\n", t.someConnections(), howOften(int(r.Broken)))
	}
	if r.Closed > 0 && t.connections > 1 {
		fmt.Fprintf(t.out, "%d of %d connections were closed by the server\n", r.Closed, t.connections)
	}
	switch {
	case r.Down == 0:
	case t.connections == 1:
		fmt.Fprintln(t.out, "the connection was down at the end")
	default:
		fmt.Fprintf(t.out, "%d of %d connections were down at the end\n", r.Down, t.connections)
	}
}

func (t *pingText) someConnections() string {
	if t.connections == 1 {
		return "the connection"
	}
	return "connections"
}

func (t *pingText) times(r *measure.Report) {
	switch {
	case t.connect:
		fmt.Fprintf(t.out, "connect  %s\n", spread(r.Service))
		if r.TLS.N() > 0 {
			fmt.Fprintf(t.out, "TLS      %s\n", spread(r.TLS))
		}
		if r.Asked > 0 {
			fmt.Fprintf(t.out, "latency  %s; from when each was to begin until it stood\n", spread(r.Latency))
		}
	case r.Asked > 0:
		fmt.Fprintf(t.out, "latency  %s; from when each was to be sent\nservice  %s; from when it was\n", spread(r.Latency), spread(r.Service))
	default:
		fmt.Fprintf(t.out, "service  %s; closed loop: no probe was sent before there was room\n", spread(r.Service))
	}
}

// spread is a distribution in one line. A percentile is told of as many as it takes for one to be beyond it.
func spread(d *measure.Distribution) string {
	if d.N() == 1 {
		return pingTime(d.Max())
	}
	words := []string{"min " + pingTime(d.Min()), "mean " + pingTime(d.Mean())}
	for _, p := range []struct {
		of    float64
		least uint64
	}{{50, 2}, {90, 10}, {99, 100}, {99.9, 1000}} {
		if d.N() >= p.least {
			words = append(words, fmt.Sprintf("p%v %s", p.of, pingTime(d.Percentile(p.of))))
		}
	}
	return strings.Join(append(words, "max "+pingTime(d.Max())), ", ")
}

// facts are the rest of the summary.
func (t *pingText) facts(r *measure.Report) (all []string) {
	if r.JitterOf > 0 {
		all = append(all, "jitter "+pingTime(r.Jitter))
	}
	if t.resolved > 0 {
		all = append(all, "resolve "+pingTime(t.resolved))
	}
	if !t.connect {
		for _, phase := range []struct {
			name string
			d    *measure.Distribution
		}{{"connect", r.Connect}, {"TLS", r.TLS}, {"first byte", r.FirstByte}} {
			if phase.d.N() == 1 {
				all = append(all, phase.name+" "+pingTime(phase.d.Max()))
			} else if phase.d.N() > 1 {
				all = append(all, fmt.Sprintf("%s p50 %s max %s", phase.name, pingTime(phase.d.Percentile(50)), pingTime(phase.d.Max())))
			}
		}
	}
	if !t.live() && r.Achieved > 0 {
		all = append(all, perSecondWords(r.Achieved)+" sent")
	}
	if r.Bytes > 0 {
		all = append(all, fmt.Sprintf("%d bytes verified", r.Bytes))
	}
	return all
}

// ownLimits tells of what was this machine's doing and would be taken for the path's.
func (t *pingText) ownLimits(r *measure.Report) {
	if r.Probes > 100 && r.Behind() {
		t.warn("only %s were sent of %s: this machine was the limit", perSecondWords(r.Achieved), perSecondWords(r.Asked))
	}
	if t.connect && r.Unsent > 0 {
		t.warn("%d connections were not begun: this machine was short of descriptors, ports or room", r.Unsent)
	}
	if r.Stalled > time.Second {
		t.warn("this process did not run for %s, in which nothing was sent", pingTime(r.Stalled))
	}
	if r.Held > 0 {
		t.note("sending had to wait for %s in all: the peer did not read, or this machine was busy", pingTime(r.Held))
	}
	if r.Dropped > 0 {
		t.warn("%d datagrams found no room in this machine's receive buffer: they count as lost, and were not lost on the path", r.Dropped)
	}
}
