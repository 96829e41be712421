package journal

import (
	"fmt"
	"os"
	"testing"
	"time"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// results returns n answers as a scan has them.
func results(tb testing.TB, n int) []probe.Result {
	space := spaceOf(tb, "10.0.0.1", "10.0.0.1", ports(n)...)
	list := make([]probe.Result, n)
	for i := range list {
		list[i] = probe.Result{Target: space.At(uint64(i)), State: probe.Closed, Reason: probe.Reset, TTL: 64, Attempt: 1, RTT: 81250, Time: time.Now()}
	}
	return list
}

func ports(n int) []uint16 {
	list := make([]uint16, n)
	for i := range list {
		list[i] = uint16(i + 1)
	}
	return list
}

// What a result costs, in batches as large as a scan's. The file is begun again each 65,536 results.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			answers := results(b, n)
			var j *Journal
			for put := 0; b.Loop(); put += n {
				if put%(1<<16) == 0 {
					b.StopTimer()
					_ = j.Close()
					j = open1(b, b.TempDir()+"/journal")
					b.StartTimer()
				}
				if err := j.Put(answers); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/result")
			_ = j.Close()
		})
	}
}

func open1(tb testing.TB, path string) *Journal {
	tb.Helper()
	j, err := Create(path, testHeader(tb))
	if err != nil {
		tb.Fatal(err)
	}
	if err := inSpan(j); err != nil {
		tb.Fatal(err)
	}
	return j
}

// What it takes to open a journal of a million results, and to give them to a sink.
func BenchmarkResume(b *testing.B) {
	path := b.TempDir() + "/journal"
	j := open1(b, path)
	answers := results(b, 1000)
	for range 1000 {
		if err := j.Put(answers); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		if j, err = Resume(path); err != nil {
			b.Fatal(err)
		}
		opened := time.Now()
		if _, err = j.Begin(Stage{Name: "scan"}); err != nil {
			b.Fatal(err)
		}
		past, err := j.Span(scan.Span{Hi: 28})
		if err != nil {
			b.Fatal(err)
		}
		var n counter
		if err := j.Replay(past, &n); err != nil || n != 1e6 {
			b.Fatal(n, err)
		}
		b.ReportMetric(float64(time.Since(opened).Milliseconds()), "ms-to-replay")
		_ = j.Close()
	}
}

type counter int

func (c *counter) Put(answers []probe.Result) error {
	*c += counter(len(answers))
	return nil
}

// A result costs no memory but the buffer's.
func TestPutDoesNotAllocate(t *testing.T) {
	j := open1(t, put(t, nil))
	defer j.Close()
	answers := results(t, 100)
	if n := testing.AllocsPerRun(100, func() {
		if err := j.Put(answers); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("100 results allocate %v times", n)
	}
}
