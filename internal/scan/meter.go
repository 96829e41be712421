package scan

import "sync/atomic"

// A Meter lets others watch a scan while it runs. Its owner makes it and may read it at any
// time; Run writes it. One meter may go through many spans.
type Meter struct {
	Probes   atomic.Uint64 // tried so far
	Asked    atomic.Uint64 // targets asked at least once
	Answered atomic.Uint64 // targets that answered
	Open     atomic.Uint64 // open ports found
	Pass     atomic.Uint32 // the pass of the span at hand, from 1
	PassSize atomic.Uint64 // targets that were silent when it began
}

func (m *Meter) begin(pass uint8, size uint64) {
	m.Pass.Store(uint32(pass))
	m.PassSize.Store(size)
}

func (m *Meter) sent(pass uint8, n uint64) {
	m.Probes.Add(n)
	if pass == 1 {
		m.Asked.Add(n)
	}
}

func (m *Meter) heard(first, open bool) {
	if first {
		m.Answered.Add(1)
	}
	if open {
		m.Open.Add(1)
	}
}
