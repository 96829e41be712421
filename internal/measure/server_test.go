package measure

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// misbehave starts a UDP server that sends back for datagram n, counted from 0, what answers says.
func misbehave(t *testing.T, answers func(n int, p []byte) [][]byte) Dial {
	t.Helper()
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		buf := make([]byte, 1<<16)
		for n := 0; ; n++ {
			k, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, p := range answers(n, slices.Clone(buf[:k])) {
				_, _ = server.WriteToUDPAddrPort(p, from)
			}
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return func(context.Context) (net.Conn, Phases, error) {
		c, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
		return c, Phases{}, err
	}
}

// serveTCP starts a server of connections.
func serveTCP(t *testing.T, serve func(n int, c *net.TCPConn)) Dial {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for n := 0; ; n++ {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			served.Go(func() {
				defer func() { _ = c.Close() }()
				serve(n, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	return func(ctx context.Context) (net.Conn, Phases, error) {
		var d net.Dialer
		start := time.Now()
		c, err := d.DialContext(ctx, "tcp4", l.Addr().String())
		return c, Phases{Connect: time.Since(start)}, err
	}
}

func echoTCP(_ int, c *net.TCPConn) { _, _ = io.Copy(c, c) }

// measured runs a plan, with what it needs filled in.
func measured(t *testing.T, p Plan) *Report {
	t.Helper()
	r, err := Run(t.Context(), filled(p))
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Counts; c.Probes != c.Answered+c.Late+c.Lost+c.Corrupt+c.Unsent+c.Pending {
		t.Errorf("not each probe once: %+v", c)
	}
	return r
}

func filled(p Plan) Plan {
	p.Size, p.Connections = max(p.Size, 64), max(p.Connections, 1)
	if p.Timeout == 0 {
		p.Timeout = 10 * time.Second
	}
	return p
}
