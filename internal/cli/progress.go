package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/term"

	"sonde/internal/scan"
)

const (
	progressAfter = time.Second            // shorter scans need no progress line
	progressEvery = 200 * time.Millisecond // often enough to look alive
)

// A progress is the one line, on a terminal, that tells how far a scan is. What else is written to
// the terminal goes through its Write or hides it first.
type progress struct {
	begun time.Time
	w     io.Writer
	width int // of the terminal; 0: there is none, and no line

	mu      sync.Mutex
	meter   *scan.Meter
	targets uint64
	what    string
	shown   bool
	within  bool // what was written last to the terminal did not end its line
	stop    chan struct{}
	done    sync.WaitGroup
}

// newProgress returns the line for a scan. Off a terminal, or when
// quiet, it only answers asks for the status.
func (a *app) newProgress() *progress {
	p := &progress{meter: &scan.Meter{}, w: a.err, stop: make(chan struct{})}
	if width, _, err := term.GetSize(int(a.err.Fd())); err == nil && !a.quiet {
		p.width = width
	}
	return p
}

// start begins to show the line, until close.
func (p *progress) start() {
	p.begun = time.Now()
	asked, ignore := statusSignal()
	p.done.Go(func() {
		defer ignore()
		p.run(asked)
	})
}

// watch makes the line tell of so many targets that are counted by meter, with words before it.
func (p *progress) watch(meter *scan.Meter, targets uint64, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter, p.targets, p.what = meter, targets, what
}

func (p *progress) run(asked <-chan statusRequest) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-asked:
			p.tell()
		case <-tick.C:
			if p.width > 0 && time.Since(p.begun) > progressAfter {
				p.show()
			}
		}
	}
}

func (p *progress) close() {
	close(p.stop)
	p.done.Wait()
	p.hide()
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.within {
		return // somebody's line is not at its end
	}
	line := p.String()
	fmt.Fprintf(p.w, "\r%.*s\x1b[K", p.width-1, line)
	p.shown = true
}

// tell prints the line as one that stays.
func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, "sonde: %s\n", p)
}

// hide clears the line, so that something else can be written in its place.
func (p *progress) hide() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// String tells percent, rate, what was found and how long it will take. The lock is held.
func (p *progress) String() string {
	m := p.meter
	asked, probes := m.Asked.Load(), m.Probes.Load()
	elapsed := time.Since(p.begun)
	share := float64(asked) / float64(max(p.targets, 1))
	s := fmt.Sprintf("%s%.0f %% asked, %.0f probes/s, %d answered, %d open", p.what, 100*share, float64(probes)/elapsed.Seconds(), m.Answered.Load(), m.Open.Load())
	switch {
	case asked >= p.targets && m.Pass.Load() > 1:
		s += fmt.Sprintf(", attempt %d of %d silent", m.Pass.Load(), m.PassSize.Load())
	case share > 0:
		left := time.Duration(float64(elapsed) * (1 - share) / share)
		s += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	return s
}

// over returns a writer to the same terminal that hides the line first.
func (p *progress) over(w io.Writer) io.Writer { return hiding{p, w} }

type hiding struct {
	p *progress
	w io.Writer
}

func (h hiding) Write(b []byte) (int, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.clear()
	h.p.within = len(b) > 0 && b[len(b)-1] != '\n'
	return h.w.Write(b)
}
