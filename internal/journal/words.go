package journal

import (
	"hash/crc32"
	"time"

	"sonde/internal/scan"
	"sonde/internal/target"
)

// A Stage is a plan of the scan, as far as it has to be the same when the scan goes on.
type Stage struct {
	Name     string        `json:"name"` // "alive", "scan", "middlebox", …
	Space    target.Space  `json:"space"`
	Seed     uint64        `json:"seed"`
	Method   string        `json:"method,omitempty"`
	Attempts uint8         `json:"attempts"`
	Timeout  time.Duration `json:"timeout_ns"`
	SpanSize uint64        `json:"span_size,omitempty"` // what the plan is cut into: Plan.Spans
}

// The lines as they are written; scan.Mark has its fields' own names. A result's line is in result.go.
type (
	headerLine struct {
		Type   string `json:"type"`
		Format int    `json:"format"`
		Header
	}
	stageLine struct {
		Type string `json:"type"`
		Stage
		Order string `json:"order"`
	}
	spanLine struct {
		Type string `json:"type"`
		Lo   uint64 `json:"lo"`
		Hi   uint64 `json:"hi"`
	}
	markLine struct {
		Type string `json:"type"`
		scan.Mark
	}
	bareLine struct {
		Type string `json:"type"`
	}
)

// orderSamples is how many places of a plan are looked at to know its order again.
const orderSamples = 64

// orderOf returns a checksum of the order in which a stage probes. A version of the program that probes in another
// order cannot use the marks.
func orderOf(s Stage) string {
	plan := scan.NewPlan(s.Space, s.Seed)
	step := max(1, s.Space.Len()/orderSamples)
	var b []byte
	for k := range min(orderSamples, s.Space.Len()) {
		t := plan.At(k * step)
		b = append(t.AppendTo(b), byte(t.Proto))
	}
	return string(appendHex(nil, crc32.ChecksumIEEE(b)))
}
