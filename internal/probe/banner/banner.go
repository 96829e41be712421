// Package banner connects to TCP ports and hears what their services say.
//
// Many services speak first: their greeting is taken as it comes. The others are asked a little: a TLS
// handshake on ports that are known for TLS, an HTTP request elsewhere. What was heard is in Result.Reply: at most
// 512 bytes as they came, or, of a TLS service, a line like
//
//	TLS 1.3, h2, CN=www.example.org, issuer Example CA
//
// whose names are the stranger's: neither may reach a terminal unescaped. A service that said nothing has a Result with
// an empty Reply. It accepted, and that proves nothing: whoever stands in between may accept for a host.
package banner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"sonde/internal/probe"
	"sonde/internal/sock"
)

// MaxReply is how much of what a service says is kept, in bytes.
const MaxReply = 512

// A Prober connects to TCP targets and reports each that accepts: Open, SynAck, with Method Converse. One that
// does not accept any more is silence. The zero value works. One Prober makes one scan at a time.
//
// A conversation takes no longer than two times Timeout + 2·Wait, and mostly much less: the second time is for a
// service that turns out to speak TLS where nobody expects it, or not to speak it where everybody does.
type Prober struct {
	Wait    time.Duration // how long a greeting is waited for, and after it the answer to a request; 0: 2 s
	Timeout time.Duration // how long a connection may take to be made; 0: 2 s
	// Concurrency is how many conversations there may be at once; 0: 512, or what the descriptor limit bears.
	Concurrency      int
	PerHost          int        // conversations with one address at most; 0: 64
	Source4, Source6 netip.Addr // where connections come from; invalid: the system's choice
	Interface        string     // the only one they leave by; Linux only

	// Name returns what the user calls an address, or "": HTTP servers are told it, and TLS servers that have many
	// names. It may be nil. It is called from several goroutines.
	Name func(netip.Addr) string
}

const (
	defaultWait        = 2 * time.Second
	defaultTimeout     = 2 * time.Second
	defaultConcurrency = 512
	defaultPerHost     = 64
	perConversation    = 4  // targets taken for each conversation that may be held: some wait for their host
	reservedFiles      = 32 // descriptors left to files, names and the runtime
)

// When this machine is short of something, one tries again after a pause; after the limit the shortage is
// taken to last, and the probe is given back.
const (
	shortPause = 10 * time.Millisecond
	shortLimit = 5 * time.Second
)

// Probe implements scan.Prober.
func (p *Prober) Probe(ctx context.Context, due probe.Due, report func(probe.Result)) error {
	d, err := p.desk(report)
	if err != nil {
		return err
	}
	buf := make([]probe.Probe, 1) // one at a time: what was asked for is begun at once
	for ctx.Err() == nil {
		select {
		case d.taken <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		if _, ok := due.Next(ctx, buf); !ok {
			break
		}
		d.take(ctx, buf[0])
	}
	d.talks.Wait()
	return ctx.Err()
}

// desk returns what one call of Probe works with.
func (p *Prober) desk(report func(probe.Result)) (*desk, error) {
	with := *p
	with.Wait = orDefault(p.Wait, defaultWait)
	with.Timeout = orDefault(p.Timeout, defaultTimeout)
	with.Concurrency = orDefault(p.Concurrency, defaultConcurrency)
	with.PerHost = orDefault(p.PerHost, defaultPerHost)
	files, err := sock.RaiseFileLimit()
	if err != nil {
		return nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	with.Concurrency = min(with.Concurrency, int(max(1, min(files, 1<<20)-min(files-1, reservedFiles))))
	return &desk{Prober: with, report: report, hosts: map[netip.Addr]*host{},
		taken: make(chan struct{}, with.Concurrency*perConversation), talking: make(chan struct{}, with.Concurrency)}, nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// A desk is one call of Probe: it sees to it that each host is talked to by so many at once.
type desk struct {
	Prober
	talks   sync.WaitGroup
	taken   chan struct{} // a token for each target that was taken and is not done with
	talking chan struct{} // a token for each conversation

	mu     sync.Mutex // guards the rest, so that one reports at a time
	report func(probe.Result)
	hosts  map[netip.Addr]*host
}

// A host is one that is being talked to.
type host struct {
	talks   int
	waiting []probe.Probe
}

// take begins a conversation, or lets it wait for another with the same host to end.
func (d *desk) take(ctx context.Context, p probe.Probe) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.hosts[p.Addr()]
	if h == nil {
		h = &host{}
		d.hosts[p.Addr()] = h
	}
	if h.talks >= d.PerHost {
		h.waiting = append(h.waiting, p)
		return
	}
	h.talks++
	d.talks.Go(func() {
		for ok := true; ok; p, ok = d.next(h, p) {
			d.hold(ctx, p)
		}
	})
}

// next ends a conversation and returns another that waited for that.
func (d *desk) next(h *host, last probe.Probe) (p probe.Probe, ok bool) {
	<-d.taken
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(h.waiting) > 0 {
		p, h.waiting = h.waiting[0], h.waiting[1:]
		return p, true
	}
	if h.talks--; h.talks == 0 {
		delete(d.hosts, last.Addr())
	}
	return p, false
}

// hold holds one conversation and reports what came of it.
func (d *desk) hold(ctx context.Context, p probe.Probe) {
	r := probe.Result{State: probe.Unsent, Reason: probe.LocalError}
	select {
	case d.talking <- struct{}{}:
		r = d.converse(ctx, p)
		<-d.talking
	case <-ctx.Done():
	}
	if ctx.Err() != nil && r.State != probe.Unsent {
		return // cut short: neither what was heard nor that nothing was is the whole of it
	}
	r.Target, r.Method, r.Attempt, r.Control, r.Time = p.Target, probe.Converse, p.Attempt, p.Control, time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report(r)
}

// converse connects and hears, once more the other way if the first way was the wrong one.
func (d *desk) converse(ctx context.Context, p probe.Probe) probe.Result {
	conn, rtt, r := d.connect(ctx, p)
	if conn == nil {
		return r
	}
	r = probe.Result{State: probe.Open, Reason: probe.SynAck, RTT: rtt}
	first, second := d.plainly, d.byTLS
	if speaksTLS(p.Port()) {
		first, second = second, first
	}
	reply, wrong := first(ctx, conn, p)
	if r.Reply = reply; !wrong {
		return r
	}
	if conn, _, _ = d.connect(ctx, p); conn != nil {
		if reply, _ = second(ctx, conn, p); len(reply) > 0 {
			r.Reply = reply
		}
	}
	return r
}

// kernelRetry is when the kernel sends a SYN again by itself: of a connection that took longer nobody knows which
// SYN was answered (RFC 6298 section 3, Karn).
const kernelRetry = time.Second

// connect makes a connection, waiting while this machine is short of something for it. Without one, it
// returns what to report instead.
func (d *desk) connect(ctx context.Context, p probe.Probe) (net.Conn, time.Duration, probe.Result) {
	dialer := d.dialer(p.Addr())
	for begin := time.Now(); ; {
		start := time.Now()
		conn, err := dialer.DialContext(ctx, "tcp", p.String())
		rtt := time.Since(start)
		if rtt >= kernelRetry {
			rtt = 0
		}
		switch {
		case err == nil && conn.LocalAddr().String() != conn.RemoteAddr().String(): // not to itself (RFC 9293 section 3.5)
			return conn, rtt, probe.Result{}
		case err == nil:
			_ = conn.Close()
		case errors.Is(err, sock.ErrReset): // only what was connected can be reset: before, it is refused
			return nil, 0, probe.Result{State: probe.Open, Reason: probe.SynAck}
		case sock.IsLimit(err) && time.Since(begin) < shortLimit && ctx.Err() == nil:
			time.Sleep(shortPause)
			continue
		case sock.IsLimit(err), errors.Is(err, errOurs):
			return nil, 0, probe.Result{State: probe.Unsent, Reason: probe.LocalError, Err: fmt.Errorf("connect: %w", err)}
		}
		return nil, 0, probe.Result{State: probe.Filtered, Reason: probe.NoResponse}
	}
}

// errOurs marks what kept a connection from being tried.
var errOurs = errors.New("not tried")

func (d *desk) dialer(to netip.Addr) *net.Dialer {
	n := &net.Dialer{Timeout: d.Timeout, KeepAlive: -1}
	source := d.Source4
	if to.Is6() {
		source = d.Source6
	}
	if source.IsValid() {
		n.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	if d.Interface != "" {
		n.Control = func(_, _ string, c syscall.RawConn) error {
			if err := sock.BindToDevice(c, d.Interface); err != nil {
				return fmt.Errorf("%w: %w", errOurs, err)
			}
			return nil
		}
	}
	return n
}
