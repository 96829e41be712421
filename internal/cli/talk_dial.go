package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"sonde/internal/cert"
	"sonde/internal/dial"
)

// dialNotice is when a connection in the making is told of: a person should not wonder why nothing happens.
const dialNotice = 2 * time.Second

// A link is a connection, and how it came about.
type link struct {
	net.Conn
	steps []string // in words, each with the time it took
	hard  bool     // an address failed on the way: the one that did not is told
}

func (l *link) step(start time.Time, format string, args ...any) {
	took := float64(time.Since(start)) / float64(time.Millisecond)
	l.steps = append(l.steps, fmt.Sprintf(format+" in %.1fms", append(args, took)...))
}

// reach connects: to the socket, the proxy or the host, then through the proxy, then by TLS.
func (t *talker) reach(ctx context.Context, d dial.Dialer, to destination) (*link, error) {
	l, err := t.reachFirst(ctx, d, to)
	if err == nil && t.proxyURL != "" {
		err = t.reachThrough(ctx, d, l, to)
	}
	if err == nil && t.tls {
		err = t.startTLS(ctx, d, l, to)
	}
	if err != nil {
		return nil, err
	}
	t.greet(l)
	return l, nil
}

// reachFirst goes the first step.
func (t *talker) reachFirst(ctx context.Context, d dial.Dialer, to destination) (*link, error) {
	if to.unix != "" {
		return t.dialUnix(ctx, d, to)
	}
	host, port := to.host, to.port
	if t.proxyURL != "" {
		host, port = t.proxy.Host, t.proxy.Port
	}
	addrs, err := t.resolve(ctx, host, d.Source)
	if err != nil {
		return nil, err
	}
	var all []netip.AddrPort
	for _, a := range addrs {
		all = append(all, netip.AddrPortFrom(a, port))
	}
	if t.udp {
		return t.dialUDP(ctx, d, all)
	}
	return t.race(ctx, d, all)
}

func (t *talker) dialUnix(ctx context.Context, d dial.Dialer, to destination) (*link, error) {
	start := time.Now()
	conn, err := d.DialUnix(ctx, to.unix)
	var e *dial.UnixError
	if errors.As(err, &e) {
		return nil, unixFailure(e)
	}
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn}
	l.step(start, "connected to %v", to)
	return l, nil
}

// dialUDP takes the first address to which this machine can send at all.
func (t *talker) dialUDP(ctx context.Context, d dial.Dialer, addrs []netip.AddrPort) (*link, error) {
	l := &link{}
	for i, addr := range addrs {
		conn, err := d.DialUDP(ctx, addr)
		if err == nil {
			l.Conn = conn
			l.steps = []string{fmt.Sprintf("sending to %v from %v; UDP has no connection, so nothing is known of it yet", conn.RemoteAddr(), conn.LocalAddr())}
			return l, nil
		}
		var e *dial.Error
		if !errors.As(err, &e) {
			return nil, err
		}
		if i == len(addrs)-1 {
			return nil, dialFailure(e, d.Source)
		}
		l.hard = true
		t.warn("%v; trying %v", dialWords(e, d.Source), addrs[i+1].Addr())
	}
	return nil, errors.New("no address to try")
}

// race connects to the first address that answers, and tells of all that failed, with -v of those that were too slow.
func (t *talker) race(ctx context.Context, d dial.Dialer, addrs []netip.AddrPort) (*link, error) {
	waiting := time.AfterFunc(dialNotice, func() { t.note("connecting to %s: no answer yet; --timeout is %v", orList(addrs), t.timeout) })
	defer waiting.Stop()
	l := &link{}
	var told []dial.Attempt
	conn, err := d.Race(ctx, addrs, func(a dial.Attempt) { told = append(told, a) })
	var e *dial.Error
	if err != nil && !errors.As(err, &e) {
		return nil, err
	}
	for _, a := range told {
		l.hard = t.tellLost(a, e, d.Source) || l.hard
	}
	if err != nil && t.proxyURL != "" {
		return nil, hopFailure(t.proxy, e, d.Source)
	}
	if err != nil {
		return nil, dialFailure(e, d.Source)
	}
	l.Conn = conn
	whom := conn.RemoteAddr().String()
	if t.proxyURL != "" {
		whom = "the proxy " + whom
	}
	l.step(time.Now().Add(-told[winner(told)].Took), "connected to %s from %v", whom, conn.LocalAddr())
	return l, nil
}

func winner(told []dial.Attempt) int {
	for i, a := range told {
		if a.Err == nil {
			return i
		}
	}
	return len(told) - 1
}

// tellLost tells of an attempt that did not win, unless its error is to be told anyway, and reports whether it failed.
func (t *talker) tellLost(a dial.Attempt, anyway *dial.Error, source netip.AddrPort) bool {
	took := a.Took.Round(time.Millisecond / 10)
	var e *dial.Error
	switch {
	case errors.Is(a.Err, dial.ErrLost) && t.verbose:
		t.note("given up: %v, which had not answered after %v when another address did", a.Addr, took)
	case errors.As(a.Err, &e) && e != anyway:
		t.warn("%v (after %v)", dialWords(e, source), took)
		return true
	}
	return false
}

func orList(addrs []netip.AddrPort) string {
	var words []string
	for _, a := range addrs {
		words = append(words, a.String())
	}
	return strings.Join(words, " or ")
}

// reachThrough has the proxy at the other end of l go on to the destination.
func (t *talker) reachThrough(ctx context.Context, d dial.Dialer, l *link, to destination) error {
	start := time.Now()
	err := d.ConnectThrough(ctx, t.proxy, l.Conn, to.String())
	var e *dial.ProxyError
	if errors.As(err, &e) {
		return proxyFailure(e)
	}
	if err == nil {
		l.step(start, "through it to %v", to)
	}
	return err
}

func (t *talker) startTLS(ctx context.Context, d dial.Dialer, l *link, to destination) error {
	start := time.Now()
	conn, err := d.StartTLS(ctx, l.Conn, to.String(), t.trust)
	var e *dial.TLSError
	if errors.As(err, &e) {
		return tlsFailure(e)
	}
	if err != nil {
		return err
	}
	l.Conn = conn
	state := conn.ConnectionState()
	described := cert.Describe(state)
	l.step(start, "%s", strings.SplitN(described[0], ",", 2)[0])
	if t.verbose {
		for _, line := range described {
			t.note("tls: %s", line)
		}
	}
	if t.trust.Insecure {
		t.warn("--insecure: nobody has checked who is at the other end; its certificate is %s", cert.Fingerprint(state.PeerCertificates[0]))
	}
	if len(t.trust.ALPN) > 0 && state.NegotiatedProtocol == "" {
		t.note("the peer chose none of the protocols offered by --alpn (%s), and goes on without", strings.Join(t.trust.ALPN, ", "))
	}
	return nil
}

// greet says what there is now: to a person always, in a pipe with -v, or when it was hard to get.
func (t *talker) greet(l *link) {
	person := t.onTerminal()
	if !person && !t.verbose && !l.hard {
		return
	}
	text := strings.Join(l.steps, ", ")
	if person {
		text += "; 'exit' or Ctrl-D ends"
		if !t.one {
			text += ", /help tells more"
		}
	}
	t.note("%s", text)
}
