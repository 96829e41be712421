package banner

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"sonde/internal/probe"
	"sonde/internal/service"
)

// speaksTLS reports whether a port is known for services that expect TLS from the first byte on.
func speaksTLS(port uint16) bool {
	switch port {
	case 443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 2083, 2087, 2096, 2376, 3269, 4433, 4443, 5061, 5223, 5349, 5671, 5986,
		6443, 6514, 6679, 6697, 8243, 8443, 8531, 8834, 8883, 9443, 10443, 16993:
		return true
	}
	return false
}

// waitsForHTTP reports whether a port is known for services that wait for an HTTP request.
func waitsForHTTP(port uint16) bool {
	return strings.HasPrefix(service.Name(port, false), "http")
}

// plainly hears what a service says by itself, and else what it answers to an HTTP request. wrong says that it seems
// to want TLS: it said so, or it hung up on the request. It closes conn.
func (d *desk) plainly(ctx context.Context, conn net.Conn, p probe.Probe) (reply []byte, wrong bool) {
	defer closeProperly(conn)
	defer interruptible(ctx, conn)()
	if !waitsForHTTP(p.Port()) {
		reply, err := hear(conn, d.Wait, afterLine)
		if len(reply) > 0 || !isTimeout(err) {
			return reply, false
		}
	}
	// The oldest form gets an answer from the most servers, and a GET from more than a HEAD. Host is not of HTTP/1.0, but
	// servers of many names want it (RFC 9112 section 3.2).
	request := "GET / HTTP/1.0\r\nHost: " + d.nameOf(p) + "\r\nUser-Agent: sonde\r\nAccept: */*\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, true
	}
	reply, err := hear(conn, d.Wait, afterHead)
	if len(reply) == 0 {
		return nil, !isTimeout(err)
	}
	return reply, isTLS(reply)
}

// nameOf returns the host as HTTP is told it.
func (d *desk) nameOf(p probe.Probe) string {
	if name := d.name(p); name != "" {
		return name
	}
	if a := p.Addr().WithZone(""); a.Is6() {
		return "[" + a.String() + "]"
	}
	return p.Addr().String()
}

// name returns what the user calls the host, "" if that is no name.
func (d *desk) name(p probe.Probe) string {
	if d.Name == nil {
		return ""
	}
	name := d.Name(p.Addr())
	if net.ParseIP(name) != nil || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return name
}

// When hear has heard enough before its time is over.
const (
	afterLine = "\n"       // greetings mostly are one line, and then it is our turn
	afterHead = "\r\n\r\n" // of an HTTP response; a body need not end (RFC 9112 section 6.3)
)

// settle is how long after that more is waited for.
const settle = 100 * time.Millisecond

// hear reads MaxReply bytes, or what comes in time, but waits only a moment longer once it has heard enough. The
// error says why it ended; nil: there was no room for more.
func hear(conn net.Conn, wait time.Duration, enough string) ([]byte, error) {
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	heard, settling := make([]byte, 0, MaxReply), wait <= settle
	for len(heard) < MaxReply {
		n, err := conn.Read(heard[len(heard):MaxReply])
		heard = heard[:len(heard)+n]
		if err != nil {
			return heard, err
		}
		if !settling && (bytes.Contains(heard, []byte(enough)) || isTLS(heard)) {
			settling = true
			_ = conn.SetReadDeadline(time.Now().Add(settle))
		}
	}
	return heard, nil
}

// isTLS reports whether b begins as a TLS handshake or alert record does (RFC 8446 section 5.1).
func isTLS(b []byte) bool {
	return len(b) >= 3 && (b[0] == 0x15 || b[0] == 0x16) && b[1] == 3 && b[2] <= 4
}

// byTLS shakes hands and tells what with. wrong says that the service does not speak TLS: what it said instead, if
// anything, is the reply. It closes conn.
func (d *desk) byTLS(ctx context.Context, conn net.Conn, p probe.Probe) (reply []byte, wrong bool) {
	defer closeProperly(conn)
	defer interruptible(ctx, conn)()
	_ = conn.SetDeadline(time.Now().Add(2 * d.Wait))
	wire := &recorder{Conn: conn}
	secure := tls.Client(wire, d.config(p))
	err := secure.HandshakeContext(ctx)
	switch {
	case err == nil:
		_ = secure.CloseWrite()
		return describe(secure.ConnectionState()), false
	case isTLS(wire.heard):
		return clip([]byte("TLS, no handshake: " + because(err))), false
	case len(wire.heard) > 0:
		rest, _ := hear(conn, settle, afterHead) // the handshake stopped reading at the first five bytes
		return clip(append(wire.heard, rest...)), false
	}
	return nil, !isTimeout(err) // one that waits for more would wait after an HTTP request too
}

// because returns what kept a TLS service from a handshake.
func because(err error) string {
	var ours *net.OpError
	switch {
	case isTimeout(err):
		return "it stopped in the middle"
	case errors.As(err, &ours) && ours.Op != "remote error": // the addresses are told already
		return ours.Err.Error()
	}
	text := strings.TrimPrefix(err.Error(), "remote error: ")
	return strings.TrimPrefix(text, "tls: ")
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// config trusts everybody: nothing is said to them, and what they show is reported as what they show.
func (d *desk) config(p probe.Probe) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, ServerName: d.name(p)}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		c.CipherSuites = append(c.CipherSuites, suite.ID)
	}
	if name := service.Name(p.Port(), false); strings.Contains(name, "http") {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	return c
}

// describe tells a TLS session in one line: its version, its protocol, who the certificate names and who issued it.
func describe(s tls.ConnectionState) []byte {
	parts := []string{tls.VersionName(s.Version)}
	if s.NegotiatedProtocol != "" {
		parts = append(parts, s.NegotiatedProtocol)
	}
	if len(s.PeerCertificates) > 0 {
		cert := s.PeerCertificates[0]
		parts = append(parts, "CN="+subject(cert), "issuer "+issuer(cert))
	}
	return clip([]byte(strings.Join(parts, ", ")))
}

// subject returns the name a certificate is for: its common name, or where it has none, as is the fashion, the first other.
func subject(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	}
	return c.Subject.String()
}

func issuer(c *x509.Certificate) string {
	switch {
	case c.Issuer.String() == c.Subject.String():
		return "itself"
	case c.Issuer.CommonName != "":
		return c.Issuer.CommonName
	}
	return c.Issuer.String()
}

func clip(b []byte) []byte { return slices.Clip(b[:min(len(b), MaxReply)]) }

// A recorder keeps the first bytes that are read through it.
type recorder struct {
	net.Conn
	heard []byte
}

// Read reads from the connection.
func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if room := MaxReply - len(r.heard); room > 0 {
		r.heard = append(r.heard, b[:min(n, room)]...)
	}
	return n, err
}

// interruptible closes conn when ctx ends, until the function it returns is called.
func interruptible(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.Close() })
}

// How much is still read, and for how long, from a peer that was told that we are done.
const (
	drainBytes = 64 << 10
	drainTime  = 250 * time.Millisecond
)

// closeProperly says goodbye and lets the peer finish what it is saying: to close with something unread would
// answer it with a reset (RFC 9293 section 3.6.1). Nobody is waited for long.
func closeProperly(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, conn, drainBytes)
	}
	_ = conn.Close()
}
