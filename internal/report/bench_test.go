package report

import (
	"io"
	"slices"
	"testing"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// A host all of whose ports answer, in the order of a scan's shuffle.
func BenchmarkReports(b *testing.B) {
	var answers []probe.Result
	for i := range 65535 {
		answers = append(answers, answer(1, probe.TCP, uint16((i*40503)%65535+1), probe.Closed, probe.ConnRefused))
	}
	hosts := []scan.Host{{Addr: answers[0].Target.Addr(), Asked: tcp(span(1, 65534)...)}}
	for _, format := range Formats() {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, _ := New(format, io.Discard, Options{})
				for batch := range slices.Chunk(answers, 256) {
					if err := r.Put(batch); err != nil {
						b.Fatal(err)
					}
				}
				if err := r.Span(1, slices.Values(hosts)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
