package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sonde/internal/serve"
)

// tellStatus writes a line on each SIGUSR1 until the function it returns is called, while the server drains too. It was asked for, so
// --quiet does not count.
func (s *serving) tellStatus() (end func()) {
	asked, ignore := statusSignal()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-asked:
				fmt.Fprintf(s.stderr(), "sonde: status: %s\n", s.status(time.Now()))
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		ignore()
		cancel()
		<-done
	}
}

// status tells in a line what the server has done so far.
func (s *serving) status(now time.Time) string {
	var words []string
	tcp, udp := s.has()
	if tcp {
		words = append(words, s.statusTCP())
	}
	if udp {
		words = append(words, s.udp().String())
	}
	words = append(words, fmt.Sprintf("since %s (%v)", s.since.Format(time.DateTime), now.Sub(s.since).Round(time.Second)))
	return strings.Join(words, "; ")
}

func (s *serving) statusTCP() string {
	c := &s.counts
	var refused sum
	for i := range c.Refused {
		refused.add(c.Refused[i].Load(), serve.Refusal(i).String())
	}
	var failed uint64
	for _, n := range c.EachFailed() {
		failed += n
	}
	return fmt.Sprintf("tcp %d open, %d accepted, %s, %s failed, %s in, %d out",
		c.Open.Load(), c.Accepted.Load(), refused.as("refused"), quantity(failed, "accept"), quantity(c.In.Load(), "byte"), c.Out.Load())
}

// String says it as the status has it.
func (u udpState) String() string {
	var dropped sum
	for _, d := range u.dropped {
		dropped.add(d.count, d.reason)
	}
	return fmt.Sprintf("udp %s in, %d out, %s, %d by the kernel", quantity(u.in, "datagram"), u.out, dropped.as("dropped"), u.kernel)
}

// A sum is a number with its parts.
type sum struct {
	n     uint64
	parts []string
}

func (s *sum) add(n uint64, why string) {
	if n > 0 {
		s.n += n
		s.parts = append(s.parts, fmt.Sprintf("%d %s", n, why))
	}
}

// as is "3 refused (2 denied, 1 max-conns)", or "0 refused".
func (s *sum) as(what string) string {
	text := fmt.Sprintf("%d %s", s.n, what)
	if s.n > 0 {
		text += " (" + strings.Join(s.parts, ", ") + ")"
	}
	return text
}
