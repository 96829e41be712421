package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sonde/internal/serve"
)

// tellStatus writes a line on each SIGUSR1 until the function it returns is called. It was asked for, so --quiet does not count.
func (s *serving) tellStatus(ctx context.Context) (end func()) {
	asked, ignore := statusSignal()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-asked:
				fmt.Fprintf(s.err, "sonde: status: %s\n", s.status(time.Now()))
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
	c := &s.counts
	var refused []string
	for i := range c.Refused {
		if n := c.Refused[i].Load(); n > 0 {
			refused = append(refused, fmt.Sprintf("%d %v", n, serve.Refusal(i)))
		}
	}
	var failed uint64
	for _, n := range c.EachFailed() {
		failed += n
	}
	words := []string{fmt.Sprintf("tcp %d open, %d accepted, %s refused, %d accepts failed, %d bytes in, %d out",
		c.Open.Load(), c.Accepted.Load(), orNone(refused), failed, c.In.Load(), c.Out.Load())}
	if s.udp != nil {
		u := s.udp()
		var dropped []string
		for _, d := range u.dropped {
			if d.count > 0 {
				dropped = append(dropped, fmt.Sprintf("%d %s", d.count, d.reason))
			}
		}
		words = append(words, fmt.Sprintf("udp %d datagrams in, %d out, %s dropped, %d by the kernel", u.in, u.out, orNone(dropped), u.kernel))
	}
	words = append(words, fmt.Sprintf("since %s (%v)", s.since.Format(time.DateTime), now.Sub(s.since).Round(time.Second)))
	return strings.Join(words, "; ")
}

// orNone is "2 denied + 1 max-conns", or "0".
func orNone(words []string) string {
	if len(words) == 0 {
		return "0"
	}
	return strings.Join(words, " + ")
}
