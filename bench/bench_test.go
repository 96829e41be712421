// Package bench measures sonde beside the programs that people use for the same work, in the
// lab's namespaces: whole processes, in turn, so that a machine whose speed drifts
// slows both. Figures are medians; the ratios are what to quote.
//
//	go test ./bench -bench . -benchtime 5x -timeout 2h
//	go test ./bench -bench Dropped/sonde
//
// Where nmap takes long it runs once, at the most as long as SONDE_BENCH_NMAP says (a Go duration, 3m by default).
// What it has not done by then is said, and its time and ratios are marked as bounds.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// build returns the path of sonde, or another program of this module, built for this run. SONDE_BENCH_SONDE in the
// environment is the path of a sonde to measure instead.
func build(b *testing.B, pkg string) string {
	b.Helper()
	if path := os.Getenv("SONDE_BENCH_SONDE"); path != "" && pkg == "sonde" {
		return path
	}
	path := filepath.Join(b.TempDir(), "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
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

// An outcome is what became of a program.
type outcome struct {
	out   string // standard output
	took  time.Duration
	rss   int64 // the most memory that was resident, in bytes
	cpu   time.Duration
	ended bool // by itself, and not by the limit
}

// run runs a program, to its end or until the limit, if that is not 0.
func run(b *testing.B, limit time.Duration, name string, args ...string) outcome {
	b.Helper()
	ctx := b.Context()
	if limit > 0 {
		bounded, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = bounded
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	o := outcome{out: out.String(), took: time.Since(start), ended: ctx.Err() == nil}
	if err != nil && o.ended {
		b.Fatalf("%s %v: %v: %s%s", name, args, err, o.out, errs.Bytes())
	}
	o.rss, o.cpu = resident(cmd.ProcessState), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	return o
}

// withLimit runs sonde with a limit of its own on descriptors.
func withLimit(b *testing.B, descriptors int, name string, args ...string) outcome {
	b.Helper()
	script := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors)
	return run(b, 0, "/bin/sh", append([]string{"-c", script, name}, args...)...)
}

// nmapOnce runs nmap once, however often the benchmark is asked for, and says so if the limit ended it.
func nmapOnce(b *testing.B, once *outcome, args ...string) {
	b.Helper()
	nmap := find(b, "nmap")
	for b.Loop() {
		if once.took > 0 {
			continue
		}
		limit := 3 * time.Minute
		if text := os.Getenv("SONDE_BENCH_NMAP"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				b.Fatal(errors.Join(errors.New("SONDE_BENCH_NMAP"), err))
			}
			limit = d
		}
		if *once = run(b, limit, nmap, args...); !once.ended {
			fmt.Printf("nmap %v: ended after %v, before it was done: its time is at least that, the ratio at the most what is told\n", args, limit)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(once.took.Seconds(), "nmap-s")
}

// report gives the median of the times and the longest, as seconds of who.
func report(b *testing.B, who string, times []time.Duration) {
	b.ReportMetric(0, "ns/op") // the time of a round says nothing
	b.ReportMetric(median(times).Seconds(), who+"-s")
	b.ReportMetric(slices.Max(times).Seconds(), who+"-max-s")
}

// ratio is the median of the ratios, pair by pair.
func ratio(ours, theirs []time.Duration) float64 {
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, ours[i].Seconds()/theirs[i].Seconds())
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}
