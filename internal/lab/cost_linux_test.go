package lab

import (
	"encoding/hex"
	"fmt"
	"testing"
)

// synToSilence is a SYN with Linux's options, whole, to a port that an Answerer has silent.
const synToSilence = "02000000010202000000010108004500003c000040004006695bc612" +
	"01010a4d00019c4000500102030400000000a002ffffd6070000020405b40402080a000000010000000001030307"

// BenchmarkAnswerer tells what the far end costs by itself: one processor bears 1e9 of these a second, less the driver's part.
func BenchmarkAnswerer(b *testing.B) {
	frame, err := hex.DecodeString(synToSilence)
	if err != nil {
		b.Fatal(err)
	}
	spec, err := loadAnswer()
	if err != nil {
		b.Fatal(err)
	}
	var objects answerObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		failOrSkip(b, fmt.Errorf("load the answering program: %w", err))
	}
	defer objects.Close()
	const runs = 1 << 20
	for b.Loop() {
		_, took, err := objects.Answer.Benchmark(frame, runs, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(took.Nanoseconds()), "ns/SYN")
	}
	b.ReportMetric(0, "ns/op")
	sum, err := (&program{tallies: objects.Tallies}).tally()
	if err != nil || sum.Silent != uint64(b.N)*runs || sum.Broken != 0 {
		b.Errorf("%v; %+v after %d runs", err, sum, b.N*runs)
	}
}
