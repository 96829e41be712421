package bench

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
	"sonde/internal/probe/connect"
	"sonde/internal/scan"
	"sonde/internal/target"
)

// silentTimeout is what a silent port costs in BenchmarkConcurrency.
const silentTimeout = 100 * time.Millisecond

// BenchmarkConcurrency tells ports per second by the number of connections in flight, of a host
// that answers each port with a reset and of one that drops all; each port is asked once. Every round
// has all numbers in turn, so that a machine whose speed drifts slows them all. The figures are
// medians, and the table in docs/concurrency.md is of
//
//	go test ./bench -bench Concurrency -benchtime 5x
func BenchmarkConcurrency(b *testing.B) {
	net := lab.Enter(b)
	if net == nil {
		return
	}
	answering := net.Host(b, lab.Config{})
	silent := net.Host(b, lab.Config{Rules: []lab.Rule{{Do: lab.Drop}}})
	inFlight := []int{1, 4, 16, 64, 256, 1024, 4096}
	answered, unanswered := make([][]float64, len(inFlight)), make([][]float64, len(inFlight))
	for b.Loop() {
		for i, n := range inFlight {
			for range 3 { // they are quick, and the more unsteady for it
				answered[i] = append(answered[i], portsPerSecond(b, answering.IPv4, 4096*n, n, time.Second, true))
			}
			unanswered[i] = append(unanswered[i], portsPerSecond(b, silent.IPv4, 20*n, n, silentTimeout, false))
		}
	}
	b.ReportMetric(0, "ns/op") // of the rounds, says nothing
	for i, n := range inFlight {
		b.ReportMetric(middle(answered[i]), fmt.Sprintf("answering-%d-ports/s", n))
		b.ReportMetric(middle(unanswered[i]), fmt.Sprintf("silent-%d-ports/s", n))
	}
}

// portsPerSecond scans as many ports of a host, or all, if there are no more, with so many in flight.
func portsPerSecond(b *testing.B, addr netip.Addr, ports, inFlight int, timeout time.Duration, answers bool) float64 {
	b.Helper()
	space := firstPorts(b, addr, min(ports, 65535))
	plan := scan.NewPlan(space, uint64(inFlight))
	plan.Attempts, plan.Timeout = 1, timeout
	prober := &connect.Prober{Timeout: timeout, Concurrency: inFlight}
	sum, err := scan.Run(b.Context(), scan.Job{Plan: plan, Span: scan.Span{Hi: space.Len()}, Prober: prober, Sink: discard{}})
	if err != nil || answers && sum.Answered != sum.Targets || !answers && sum.Answered != 0 {
		b.Fatalf("%v; %+v", err, sum)
	}
	return float64(sum.Targets) / sum.Elapsed.Seconds()
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// firstPorts is the ports from 1 to n of a host.
func firstPorts(b *testing.B, addr netip.Addr, n int) target.Space {
	b.Helper()
	ports, err := target.ParsePorts(fmt.Sprintf("1-%d", n), probe.TCP, nil)
	if err != nil {
		b.Fatal(err)
	}
	var build target.Builder
	build.Add(addr, addr, ports)
	space, err := build.Space()
	if err != nil {
		b.Fatal(err)
	}
	return space
}

// discard is a sink for nobody.
type discard struct{}

func (discard) Put([]probe.Result) error { return nil }
