package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// metricsPort is --metrics' port where ADDR says none.
const metricsPort = 9990

// Times within which a scraper has to say what it wants, and to take it.
const (
	metricsRead  = 5 * time.Second
	metricsWrite = 10 * time.Second
	metricsIdle  = 10 * time.Second
)

// metricsConns is how many scrapers are answered at the same time, on each address.
const metricsConns = 16

// serveMetrics answers Prometheus at ADDR until the function it returns is called.
func (s *serving) serveMetrics(ctx context.Context, cmd *cobra.Command, where string) (end func(), err error) {
	addr, err := parseBind(where, metricsPort)
	if err != nil {
		return nil, aboutMetrics(err)
	}
	addrs, err := addr.addrs(ctx)
	if err != nil {
		return nil, aboutMetrics(err)
	}
	sockets, err := serve.Bind(ctx, serve.Want{Addrs: addrs, Port: addr.port, TCP: true})
	if err != nil {
		return nil, s.metricsFailure(cmd, err)
	}
	if reachable(addrs) {
		s.note("note: other machines can reach the metrics; --metrics localhost:%d keeps them to this one", addr.port)
	}
	set := metrics.NewSet()
	set.RegisterMetricsWriter(s.writeMetrics)
	server := &http.Server{Handler: metricsHandler(set), ReadTimeout: metricsRead, WriteTimeout: metricsWrite, IdleTimeout: metricsIdle,
		MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	var group sync.WaitGroup
	for _, l := range sockets.TCP {
		s.note("metrics at http://%v/metrics", l.Addr())
		group.Go(func() {
			if err := server.Serve(netutil.LimitListener(gate{l, s.limits.Access}, metricsConns)); !errors.Is(err, http.ErrServerClosed) {
				s.warn("metrics at %v ended: %v", l.Addr(), err)
			}
		})
	}
	return func() {
		_ = server.Close()
		group.Wait()
	}, nil
}

// A gate is a listener that turns away who is not permitted.
type gate struct {
	net.Listener
	access serve.Access
}

// Accept implements net.Listener.
func (g gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || g.access.Permits(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()) {
			return c, err
		}
		sock.TurnAway(c)
	}
}

func metricsHandler(set *metrics.Set) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		set.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	return mux
}

// metricsFailure words why --metrics' address could not be bound.
func (s *serving) metricsFailure(cmd *cobra.Command, err error) error {
	const another = "take another port: --metrics localhost:0"
	var bound *serve.BindError
	if sock.IsInUse(err) && errors.As(err, &bound) && s.listensOn(bound.Addr.Port()) {
		return misuse(fmt.Errorf("--metrics: port %d is one of those that are served", bound.Addr.Port()), another)
	}
	told := aboutMetrics(bindFailure(cmd, err))
	var e *exitError
	if errors.As(told, &e) && sock.IsInUse(err) {
		e.hints = []string{another}
	}
	return told
}

// listensOn reports whether one of the server's own TCP sockets has a port.
func (s *serving) listensOn(port uint16) bool {
	return slices.ContainsFunc(s.sockets.TCP, func(l net.Listener) bool { return l.Addr().(*net.TCPAddr).AddrPort().Port() == port })
}

// aboutMetrics says which of a server's addresses an error is about.
func aboutMetrics(err error) error {
	var e *exitError
	if !errors.As(err, &e) {
		return fmt.Errorf("--metrics: %w", err)
	}
	return &exitError{code: e.code, err: fmt.Errorf("--metrics: %w", e.err), hints: e.hints}
}

// writeMetrics writes what the server has done so far, in Prometheus' text format.
func (s *serving) writeMetrics(w io.Writer) {
	tcp, udp := s.has()
	if tcp {
		s.writeTCP(metricsWriter{w})
	}
	if udp {
		s.udp().write(metricsWriter{w})
	}
}

func (s *serving) writeTCP(m metricsWriter) {
	c, w := &s.counts, m.w
	m.begin("sonde_connections_open", "gauge")
	metrics.WriteGaugeUint64(w, "sonde_connections_open", uint64(max(c.Open.Load(), 0)))
	m.counter("sonde_connections_accepted_total", c.Accepted.Load())
	m.begin("sonde_connections_refused_total", "counter")
	for i := range c.Refused {
		metrics.WriteCounterUint64(w, fmt.Sprintf("sonde_connections_refused_total{reason=%q}", serve.Refusal(i)), c.Refused[i].Load())
	}
	m.counter("sonde_tcp_received_bytes_total", c.In.Load())
	m.counter("sonde_tcp_sent_bytes_total", c.Out.Load())
	m.begin("sonde_accept_errors_total", "counter")
	for errno, n := range c.EachFailed() {
		metrics.WriteCounterUint64(w, fmt.Sprintf("sonde_accept_errors_total{errno=%q}", sock.ErrnoName(errno)), n)
	}
}

func (u udpState) write(m metricsWriter) {
	m.counter("sonde_udp_received_datagrams_total", u.in)
	m.counter("sonde_udp_sent_datagrams_total", u.out)
	m.begin("sonde_udp_dropped_datagrams_total", "counter")
	for _, d := range u.dropped {
		metrics.WriteCounterUint64(m.w, fmt.Sprintf("sonde_udp_dropped_datagrams_total{reason=%q}", d.reason), d.count)
	}
	m.counter("sonde_udp_kernel_dropped_datagrams_total", u.kernel)
}

// A metricsWriter writes families, each with its type.
type metricsWriter struct{ w io.Writer }

func (m metricsWriter) begin(family, kind string) { fmt.Fprintf(m.w, "# TYPE %s %s\n", family, kind) }

func (m metricsWriter) counter(name string, n uint64) {
	m.begin(name, "counter")
	metrics.WriteCounterUint64(m.w, name, n)
}

// udpState is what a server's UDP sockets have done so far.
type udpState struct {
	in, out uint64
	dropped []dropCount // that were read and not answered, or not taken
	kernel  uint64      // that the kernel threw away because nobody read fast enough
}

type dropCount struct {
	reason string // in one word
	count  uint64
}
