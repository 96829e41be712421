// Package bench measures sonde beside the programs that people use for the same work, in the
// lab's namespaces: whole processes, in turn, so that a machine whose speed drifts
// slows both. Figures are medians; the ratios are what to quote.
//
//	go test ./bench -bench . -benchtime 5x
package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sonde/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	os.Exit(m.Run())
}

// build returns the path of a sonde built for this run.
func build(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "sonde")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "sonde")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return path
}

// find returns the path of a program to compare with, or skips.
func find(b *testing.B, name string) string {
	b.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		b.Skipf("%s is not installed", name)
	}
	return path
}

// run runs a program to its end and returns its output and how long that took.
func run(b *testing.B, name string, args ...string) (string, time.Duration) {
	b.Helper()
	start := time.Now()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		b.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out), time.Since(start)
}

// A pair is the times of two programs that did the same work in turn.
type pair struct{ ours, theirs []time.Duration }

func (p *pair) add(ours, theirs time.Duration) {
	p.ours, p.theirs = append(p.ours, ours), append(p.theirs, theirs)
}

// report gives the medians, and the median of the ratios pair by pair.
func (p *pair) report(b *testing.B, them string) {
	var ratios []float64
	for i := range p.ours {
		ratios = append(ratios, p.ours[i].Seconds()/p.theirs[i].Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(median(p.ours).Seconds(), "sonde-s")
	b.ReportMetric(median(p.theirs).Seconds(), them+"-s")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(0, "ns/op") // the time of a pair says nothing
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
