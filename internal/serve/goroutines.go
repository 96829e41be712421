package serve

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"sonde/internal/sock"
)

// goroutines see connections through, one each.
type goroutines struct {
	handle  func(*Conn) error
	tls     *tls.Config // nil: TCP alone
	idle    time.Duration
	counts  *Counts
	ended   func(*record)
	buffers sock.Buffers
	running sync.WaitGroup

	mu   sync.Mutex
	open map[*Conn]struct{}
}

// carry serves a connection.
func (g *goroutines) carry(conn net.Conn, rec record) {
	c := &Conn{record: rec, wire: conn, idle: g.idle, counts: g.counts}
	if g.tls != nil {
		c.secure = newTLSReader(c, g.tls, &g.buffers)
		c.conn, c.reader = c.secure, c.secure
	} else {
		c.steady = &steady{Conn: conn, of: c, idle: true}
		c.conn, c.reader = c.steady, sock.NewReader(conn, &g.buffers)
	}
	g.mu.Lock()
	g.open[c] = struct{}{}
	g.mu.Unlock()
	if g.tls != nil {
		g.running.Go(func() { g.secure(c) })
	} else {
		g.running.Go(func() { g.serve(c) })
	}
}

// secure has a connection's TLS handshake, and then its conversation on a stack of its own: the handshake's has become a large one.
func (g *goroutines) secure(c *Conn) {
	if c.err = c.handshake(); c.err != nil {
		c.reader = sock.NewReader(c.wire, &g.buffers) // what the client still sends is no TLS
		c.close()
		g.done(c)
		return
	}
	g.running.Go(func() { g.serve(c) })
}

func (g *goroutines) serve(c *Conn) {
	c.serve(g.handle)
	g.done(c)
}

func (g *goroutines) done(c *Conn) {
	g.mu.Lock()
	delete(g.open, c)
	g.mu.Unlock()
	g.ended(&c.record)
}

// stop lets the quiet ones end, and the busy ones until the grace is over.
func (g *goroutines) stop(grace time.Duration) {
	end := time.Now().Add(grace)
	g.each(func(c *Conn) { c.stopBy(end, min(quietAfter, grace/2)) })
}

// cut ends all.
func (g *goroutines) cut() { g.each((*Conn).cutNow) }

func (g *goroutines) each(do func(*Conn)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.open {
		do(c)
	}
}

// wait returns when the goroutines have ended.
func (g *goroutines) wait() { g.running.Wait() }
