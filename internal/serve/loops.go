package serve

import (
	"runtime"
	"sync"
	"time"

	"sonde/internal/sock"
)

// loops see connections through: one for each processor we may use, each with its share of them.
type loops struct {
	answer  func([]byte) []byte
	idle    time.Duration
	counts  *Counts
	ended   func(*record)
	buffers sock.Buffers
	each    []*loop
	running sync.WaitGroup
}

// start starts them, once. It fails where the system has none, or no descriptors for them.
func (ls *loops) start() error {
	if len(ls.each) > 0 {
		return nil
	}
	for range runtime.GOMAXPROCS(0) {
		poll, err := sock.NewLoop()
		if err != nil {
			ls.close()
			return err
		}
		l := newLoop(poll, ls)
		ls.each = append(ls.each, l)
		ls.running.Go(l.run)
	}
	return nil
}

// close ends them, when they have no connections any more.
func (ls *loops) close() {
	for _, l := range ls.each {
		l.order(func(o *orders) { o.quit = true })
	}
	ls.running.Wait()
	ls.each = nil
}

// carry serves a connection on the loop that has fewest.
func (ls *loops) carry(s *sock.Stream, rec record) {
	least := ls.each[0]
	for _, l := range ls.each[1:] {
		if l.open.Load() < least.open.Load() {
			least = l
		}
	}
	least.open.Add(1)
	least.order(func(o *orders) { o.arrivals = append(o.arrivals, &loopConn{record: rec, stream: s}) })
}

// stop lets the quiet ones end, and the busy ones until cut is called after the grace.
func (ls *loops) stop(grace time.Duration) {
	for _, l := range ls.each {
		l.order(func(o *orders) { o.stop, o.quiet = true, min(quietAfter, grace/2) })
	}
}

// cut ends all.
func (ls *loops) cut() {
	for _, l := range ls.each {
		l.order(func(o *orders) { o.cut = true })
	}
}
