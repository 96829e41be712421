package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"sonde/internal/lab"
)

// series are the measures of one tool, round by round.
type series []measure

func (s series) rates() (rates []float64) {
	for _, m := range s {
		rates = append(rates, m.rate())
	}
	return rates
}

// report gives the median rate, and of what was found the mean, the worst, and in how many rounds it was all.
func (s series) report(b *testing.B) {
	s.reportRate(b)
	found, least, whole, untrue, resets := 0.0, 1.0, 0, 0, uint64(0)
	for _, m := range s {
		found, least = found+m.recall()/float64(len(s)), min(least, m.recall())
		untrue, resets = untrue+m.untrue, resets+m.resets
		if m.lacking == 0 {
			whole++
		}
	}
	b.ReportMetric(100*found, "%found")
	b.ReportMetric(100*least, "%found-min")
	b.ReportMetric(float64(whole), "whole")
	b.ReportMetric(float64(untrue), "false")
	b.ReportMetric(float64(resets)/float64(len(s)), "RST")
}

// reportRate gives the median rate, and fails where the far end was sent what no host would answer.
func (s series) reportRate(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(s.rates()), "SYN/s")
	for _, m := range s {
		if m.broken > 0 {
			b.Errorf("%d broken SYNs of %d", m.broken, m.syns+m.broken)
		}
	}
}

// of is the median of the ratios, pair by pair.
func of(ours, theirs []float64) float64 {
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, ours[i]/theirs[i])
	}
	return middle(ratios)
}

// BenchmarkSYN scans 65,536 addresses × 32 ports as fast as can be, each probe once. Beside the xdp engine, round by round, goes
// the ceiling; beside the raw one masscan. zmap, which scans one port in a run, scans eight.
//
//	go test ./bench -bench SYN -benchtime 10x -timeout 1h
func BenchmarkSYN(b *testing.B) {
	f := newField(b, lab.Answerer)
	if f == nil {
		return
	}
	best := 0.0 // median rate of the others
	others := installed()
	for _, t := range others {
		s := whole
		if t.onePort {
			s.ports = 8
		}
		b.Run(t.name, func(b *testing.B) {
			var rounds series
			for b.Loop() {
				rounds = append(rounds, f.measure(b, t, s, 0))
			}
			rounds.report(b)
			best = max(best, middle(rounds.rates()))
		})
	}
	path := build(b, "sonde")
	once := []string{"--attempts", "1"}
	b.Run("raw", func(b *testing.B) {
		var ours, theirs series
		for b.Loop() {
			ours = append(ours, f.measure(b, sonde(path, "raw", once...), whole, 0))
			for _, t := range others {
				if t.name == "masscan" {
					theirs = append(theirs, f.measure(b, t, whole, 0))
				}
			}
		}
		ours.report(b)
		if len(theirs) > 0 {
			b.ReportMetric(of(ours.rates(), theirs.rates()), "of-masscan")
		}
	})
	b.Run("xdp", func(b *testing.B) {
		var ours series
		var ceilings []float64
		for b.Loop() {
			ceilings = append(ceilings, f.ceiling(b, false))
			ours = append(ours, f.measure(b, sonde(path, "xdp", once...), whole, 0))
		}
		ours.report(b)
		b.ReportMetric(middle(ceilings), "ceiling-SYN/s")
		b.ReportMetric(of(ours.rates(), ceilings), "of-ceiling")
		if best > 0 {
			b.ReportMetric(middle(ours.rates())/best, "x-best")
		}
	})
}

// BenchmarkCeiling is what the ceiling is alone, and the bare loop of constant frames.
//
//	go test ./bench -bench Ceiling -benchtime 10x
func BenchmarkCeiling(b *testing.B) {
	for _, row := range []struct {
		name     string
		wire     lab.Wire
		constant bool
	}{{"answerer", lab.Answerer, false}, {"sink", lab.Sink, false}, {"constant", lab.Sink, true}} {
		b.Run(row.name, func(b *testing.B) {
			f := newField(b, row.wire)
			if f == nil {
				return
			}
			var rates []float64
			for b.Loop() {
				rates = append(rates, f.ceiling(b, row.constant))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(middle(rates), "SYN/s")
		})
	}
}

// BenchmarkSending is the xdp engine's sending alone, to a far end that drops everything, beside a bare loop of constant frames.
//
//	go test ./bench -bench Sending -benchtime 10x
func BenchmarkSending(b *testing.B) {
	f := newField(b, lab.Sink)
	if f == nil {
		return
	}
	path := build(b, "sonde")
	var ours series
	var bare []float64
	for b.Loop() {
		bare = append(bare, f.ceiling(b, true))
		ours = append(ours, f.measure(b, sonde(path, "xdp", "--attempts", "1"), whole, 0))
	}
	ours.reportRate(b)
	b.ReportMetric(middle(bare), "bare-SYN/s")
	b.ReportMetric(of(ours.rates(), bare), "of-bare")
}

// BenchmarkStarved scans as BenchmarkSYN does, with sonde's usual attempts, while a process keeps one of the processors busy.
//
//	go test ./bench -bench Starved -benchtime 3x -timeout 1h
func BenchmarkStarved(b *testing.B) {
	f := newField(b, lab.Answerer)
	if f == nil {
		return
	}
	path := build(b, "sonde")
	for _, t := range append(installed(), sonde(path, "raw"), sonde(path, "xdp")) {
		s := whole
		if t.onePort {
			s.ports = 4
		}
		b.Run(t.name, func(b *testing.B) {
			busy(b)
			var rounds series
			for b.Loop() {
				rounds = append(rounds, f.measure(b, t, s, 0))
			}
			rounds.report(b)
		})
	}
}

// BenchmarkRate tells how a rate is kept: the SYNs a second at the far end, in per cent of what was asked for, and of
// one processor, how much the program took. A scan takes ten seconds, or as long as 65,536 × 32 probes last.
//
//	go test ./bench -bench Rate -benchtime 1x -timeout 1h
func BenchmarkRate(b *testing.B) {
	f := newField(b, lab.Answerer)
	if f == nil {
		return
	}
	path := build(b, "sonde")
	for _, t := range append(installed(), sonde(path, "raw", "--attempts", "1"), sonde(path, "xdp", "--attempts", "1")) {
		for _, rate := range []int{10, 100, 1000, 10_000, 100_000, 1_000_000} {
			s := sliceOf(10 * rate)
			if t.onePort {
				s.ports = 1
			}
			b.Run(fmt.Sprintf("%s/%d", t.name, rate), func(b *testing.B) {
				var rounds series
				var cpu []float64
				for b.Loop() {
					m := f.measure(b, t, s, rate)
					rounds, cpu = append(rounds, m), append(cpu, 100*m.cpu.Seconds()/m.outcome.took.Seconds())
				}
				rounds.report(b)
				b.ReportMetric(100*middle(rounds.rates())/float64(rate), "%of-asked")
				b.ReportMetric(middle(cpu), "%cpu")
			})
		}
	}
}

// BenchmarkLarge tells how much memory is resident, at the most, in a scan of one port of 2^24 addresses, whose far end drops
// everything. masscan is stopped after ten seconds; it does not get larger.
//
//	go test ./bench -bench Large -benchtime 1x
func BenchmarkLarge(b *testing.B) {
	const all = "10.0.0.0/8"
	f := newField(b, lab.Sink, all)
	if f == nil {
		return
	}
	path := build(b, "sonde")
	for name, args := range map[string][]string{
		"sonde": {path, "scan", all, "-p", "80", "--method", "syn", "--engine", "xdp", "--rate", "max", "--attempts", "1", "--open", "-o", "json=" + filepath.Join(f.dir, "large.json")},
		"masscan": {"masscan", all, "-p", "80", "--rate", "10000000", "--wait", "0", "-e", f.host.Device,
			"--source-ip", client, "--router-mac", f.host.MAC.String(), "-oL", filepath.Join(f.dir, "large.txt")},
	} {
		b.Run(name, func(b *testing.B) {
			limit := time.Duration(0)
			if name == "masscan" {
				args[0], limit = find(b, name), 10*time.Second
			}
			var most int64
			for b.Loop() {
				f.host.ResetTally(b)
				most = max(most, run(b, limit, args[0], args[1:]...).rss)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(most)/1e6, "MB")
			b.ReportMetric(float64(f.host.Tally(b).SYNs()), "SYNs")
		})
	}
}

// BenchmarkCurve is the share of the open ports that is found, by rate. Its rows go to the file that SONDE_BENCH_CURVE names, which
// ./bench/curve draws:
//
//	SONDE_BENCH_CURVE=$PWD/docs/recall.csv go test ./bench -bench Curve -benchtime 1x -timeout 2h
//	go run ./bench/curve <docs/recall.csv >docs/recall.svg
//
// A scan lasts about six seconds, or as long as 65,536 × 32 probes do; each row is the median of three.
func BenchmarkCurve(b *testing.B) {
	f := newField(b, lab.Answerer)
	if f == nil {
		return
	}
	path := build(b, "sonde")
	rows := []byte("tool,asked,sent,found\n")
	for _, t := range append(installed(), sonde(path, "raw", "--attempts", "1"), sonde(path, "xdp", "--attempts", "1")) {
		for _, rate := range []int{10_000, 30_000, 100_000, 150_000, 200_000, 300_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 0} {
			if rate > 500_000 && t.name != "xdp" {
				continue // beyond all that these can do; that is their last row
			}
			s := whole
			if rate > 0 {
				s = sliceOf(6 * rate)
			}
			if t.onePort {
				s.ports = 1
			}
			b.Run(t.name+"/"+label(rate), func(b *testing.B) {
				var rounds series
				for b.Loop() {
					for range 3 {
						rounds = append(rounds, f.measure(b, t, s, rate))
					}
				}
				rounds.report(b)
				slices.SortFunc(rounds, func(x, y measure) int { return x.lacking - y.lacking })
				m := rounds[len(rounds)/2]
				rows = fmt.Appendf(rows, "%s,%s,%.0f,%.5f\n", t.name, label(rate), m.rate(), m.recall())
			})
		}
	}
	if file := os.Getenv("SONDE_BENCH_CURVE"); file != "" {
		if err := os.WriteFile(file, rows, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func label(rate int) string {
	if rate == 0 {
		return "max"
	}
	return strconv.Itoa(rate)
}
