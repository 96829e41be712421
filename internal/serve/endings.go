package serve

import (
	"sync"
	"time"
)

// endings are the connections that have ended and were not told yet. Who serves connections never waits for who prints.
type endings struct {
	mu      sync.Mutex
	records []*record
	some    chan struct{} // has room for one
}

func (e *endings) add(r *record) {
	r.closed = time.Now()
	e.mu.Lock()
	e.records = append(e.records, r)
	e.mu.Unlock()
	select {
	case e.some <- struct{}{}:
	default: // it says so already
	}
}

func (e *endings) take() []*record {
	e.mu.Lock()
	defer e.mu.Unlock()
	records := e.records
	e.records = nil
	return records
}
