package bench

import (
	"fmt"
	"testing"
)

// The rows of docs/benchmarks.md about echo. In every round the servers have the same load in turn, another of them first each
// time; what counts is the median of the rounds' ratios.
//
//	go test ./bench -run '^$' -bench Echo -benchtime 1x -timeout 20m
//
// is all of them but for the verified runs and the soak, which are -bench Verified and -bench Soak. With -benchtime 5x there are
// five times as many rounds.
const echoRounds = 9

// rivals are the echo servers of a row, the client, and who runs where.
type rivals struct {
	servers       []*server
	client        string
	onHere, there int
}

// tcpRivals starts sonde and what it is measured by.
func tcpRivals(b *testing.B) *rivals {
	b.Helper()
	r := &rivals{client: compile(b, "load")}
	r.onHere, r.there = processors(b)
	r.servers = []*server{
		serve(b, r.there, "c", compile(b, "echo")),
		serve(b, r.there, "iocopy", build(b, "./testdata/iocopy")),
		serve(b, r.there, "sonde", build(b, "sonde"), "echo", "--tcp", "127.0.0.1:0"),
	}
	return r
}

// rounds has every server do the work as often as asked, and returns what came of it by the servers' names.
func (r *rivals) rounds(b *testing.B, rounds int, mode string, options ...string) map[string][]load {
	b.Helper()
	done := map[string][]load{}
	for b.Loop() {
		for round := range rounds {
			for i := range r.servers {
				s := r.servers[(round+i)%len(r.servers)]
				done[s.name] = append(done[s.name], r.timed(b, s, mode, options...))
			}
		}
	}
	b.ReportMetric(0, "ns/op") // of a round, says nothing
	return done
}

// timed measures the server's processor time too.
func (r *rivals) timed(b *testing.B, s *server, mode string, options ...string) load {
	b.Helper()
	before, err := processorTime(s.pid)
	if err != nil {
		b.Fatalf("%s is gone: %v", s.name, err)
	}
	l := s.load(b, r.onHere, r.client, mode, options...)
	after, err := processorTime(s.pid)
	if err != nil {
		b.Fatalf("%s is gone: %v", s.name, err)
	}
	l.used = after - before
	return l
}

// tell reports a figure of all, as a median, and sonde's as a ratio to each of the others'.
func (r *rivals) tell(b *testing.B, done map[string][]load, unit string, of func(load) float64) {
	b.Helper()
	for _, s := range r.servers {
		var values []float64
		for _, l := range done[s.name] {
			values = append(values, of(l))
		}
		b.ReportMetric(middle(values), s.name+"-"+unit)
		if s.name != "sonde" {
			b.ReportMetric(middleOf(done["sonde"], done[s.name], of), fmt.Sprintf("sonde/%s-%s", s.name, unit))
		}
	}
}

// BenchmarkEchoSmall: 64 connections that each have one message of 64 bytes on its way.
func BenchmarkEchoSmall(b *testing.B) {
	r := tcpRivals(b)
	done := r.rounds(b, echoRounds, "tcp", "conns=64", "size=64", "warm=0.2", "seconds=0.6")
	r.tell(b, done, "req/s", load.perSecond)
	r.tell(b, done, "cpu-ns/req", load.cost)
}

// BenchmarkEchoMany: 1,000 connections that each have one message of 1 KB on its way.
func BenchmarkEchoMany(b *testing.B) {
	r := tcpRivals(b)
	done := r.rounds(b, echoRounds, "tcp", "conns=1000", "size=1024", "warm=0.25", "seconds=0.55")
	r.tell(b, done, "req/s", load.perSecond)
	r.tell(b, done, "p99-us", func(l load) float64 { return l.P99 })
	r.tell(b, done, "cpu-ns/req", load.cost)
}

// BenchmarkEchoBulk: one connection, both ways at once, as fast as it goes. The processor time of a KB tells who is the
// faster where the client is the slowest of all.
func BenchmarkEchoBulk(b *testing.B) {
	r := tcpRivals(b)
	done := r.rounds(b, echoRounds, "bulk", "warm=0.2", "seconds=0.6")
	r.tell(b, done, "MB/s", func(l load) float64 { return l.bytesPerSecond() / 1e6 })
	r.tell(b, done, "cpu-ns/KB", func(l load) float64 { return 1000 * l.cost() })
	r.tellBusy(b, done)
}

// udpRivals starts sonde, the loop it is measured by, and what batches alone could bring.
func udpRivals(b *testing.B) *rivals {
	b.Helper()
	r := &rivals{client: compile(b, "load")}
	r.onHere, r.there = processors(b)
	r.servers = []*server{
		serve(b, r.there, "loop", build(b, "./testdata/udploop")),
		serve(b, r.there, "batch", compile(b, "batch")),
		serve(b, r.there, "sonde", build(b, "sonde"), "echo", "--udp", "127.0.0.1:0"),
	}
	return r
}

// BenchmarkEchoDatagrams: 64 clients with three datagrams of 64 bytes each on their way, which is as many as a socket's default buffer
// holds. A client on one processor is hardly faster than the servers: the processor time of an echo tells more than their number.
func BenchmarkEchoDatagrams(b *testing.B) { saturated(b, "gso=0") }

// BenchmarkEchoDatagramsSegmented is the same by a client whose kernel takes what it sends at once for one packet until it is
// there (udp(7), UDP_SEGMENT): it has the servers wait for nothing.
func BenchmarkEchoDatagramsSegmented(b *testing.B) { saturated(b, "gso=1") }

func saturated(b *testing.B, how string) {
	r := udpRivals(b)
	done := r.rounds(b, echoRounds, "udp", "conns=64", "size=64", "window=3", how, "warm=0.2", "seconds=0.6")
	r.tell(b, done, "echoes/s", load.perSecond)
	r.tell(b, done, "cpu-ns/echo", load.cost)
	r.tellLost(b, done)
	r.tellBusy(b, done)
}

// BenchmarkEchoDatagramsPaced: the same clients, and 20,000 datagrams a second in all, at their time.
func BenchmarkEchoDatagramsPaced(b *testing.B) {
	r := udpRivals(b)
	done := r.rounds(b, echoRounds, "udp", "conns=64", "size=64", "rate=20000", "warm=0.2", "seconds=0.6")
	r.tell(b, done, "p99-us", func(l load) float64 { return l.P99 })
	r.tell(b, done, "p50-us", func(l load) float64 { return l.P50 })
	r.tellLost(b, done)
}

func (r *rivals) tellLost(b *testing.B, done map[string][]load) {
	for _, s := range r.servers {
		lost := uint64(0)
		for _, l := range done[s.name] {
			lost += l.Lost
		}
		b.ReportMetric(float64(lost), s.name+"-lost")
	}
}

// tellBusy reports how busy the client was with each server: near 100 % it is what holds the row up.
func (r *rivals) tellBusy(b *testing.B, done map[string][]load) {
	for _, s := range r.servers {
		var busy []float64
		for _, l := range done[s.name] {
			busy = append(busy, 100*l.busy)
		}
		b.ReportMetric(middle(busy), s.name+"-client-%")
	}
}
