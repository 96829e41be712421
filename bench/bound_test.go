package bench

import (
	"encoding/json"
	"os"
	"testing"

	"sonde/internal/lab"
)

// BenchmarkBound holds what sonde says it may have missed against what it has: a hundred scans a round of
// 1,000 open ports among 3,000, in two passes only, where 10 % of the packets are lost each way.
// The bound is one for 95 of 100 scans.
func BenchmarkBound(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	const open = 1000
	sonde := build(b, "sonde")
	host := net.Host(b, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(1000, 999+open)}},
		Rules:  []lab.Rule{{Way: lab.Both, Do: lab.Lose, Percent: 10}},
	})
	path := b.TempDir() + "/scan.json"
	held, scans, missed, expected, bounds := 0, 0, 0.0, 0.0, 0.0
	for b.Loop() {
		for range 100 {
			run(b, 0, sonde, "scan", host.IPv4.String(), "-p", "1-3000", "--attempts", "2", "--timeout", "200ms", "--open", "-o", "json="+path)
			s := summary(b, path)
			if scans++; s.Missed95 == nil {
				continue
			}
			lacking := float64(open - s.Open)
			if lacking <= *s.Missed95 {
				held++
			}
			missed, expected, bounds = missed+lacking, expected+*s.Missed, bounds+*s.Missed95
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(scans), "scans")
	b.ReportMetric(100*float64(held)/float64(scans), "%held")
	b.ReportMetric(missed/float64(scans), "missed")
	b.ReportMetric(expected/float64(scans), "expected")
	b.ReportMetric(bounds/float64(scans), "bound")
}

// A summaryLine is the last of sonde's JSON lines.
type summaryLine struct {
	Type     string
	Open     int
	Missed   *float64 `json:"expected_missed"`
	Missed95 *float64 `json:"expected_missed_95"`
}

func summary(b *testing.B, path string) (s summaryLine) {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for lines := json.NewDecoder(file); s.Type != "summary"; {
		s = summaryLine{}
		if err := lines.Decode(&s); err != nil {
			b.Fatalf("%s has no summary: %v", path, err)
		}
	}
	return s
}
