package banner

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

// listen gives each connection to a port to talk, on both families' loopback, until the test ends.
func listen(t *testing.T, port uint16, talk func(net.Conn)) {
	t.Helper()
	var talks sync.WaitGroup
	t.Cleanup(talks.Wait)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		talks.Go(func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				talks.Go(func() {
					defer c.Close()
					talk(c)
				})
			}
		})
		t.Cleanup(func() { _ = l.Close() })
	}
}

// says sends text and waits for the other to end it.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// serveHTTP answers HTTP requests, over TLS if there is a configuration for it.
func serveHTTP(t *testing.T, port uint16, config *tls.Config) {
	t.Helper()
	s := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello, %s", r.Host) }),
		TLSConfig: config, ErrorLog: nil,
	}
	var serving sync.WaitGroup
	for _, addr := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		serving.Go(func() {
			if config == nil {
				_ = s.Serve(l)
				return
			}
			_ = s.ServeTLS(l, "", "")
		})
	}
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = s.Close() })
}

// certificate returns one for a name, issued by another or, without that, by itself.
func certificate(t *testing.T, name, by string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	parent := template
	if by != "" {
		parent = &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: by}, IsCA: true}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

const wait = 800 * time.Millisecond

// What services say, each kind on a port that is known for it and on one that is not.
func TestReplies(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	byCA := &tls.Config{Certificates: []tls.Certificate{certificate(t, "www.example.org", "Example CA")}}
	bySelf := &tls.Config{Certificates: []tls.Certificate{certificate(t, "box", "")}}
	picky := &tls.Config{Certificates: byCA.Certificates, NextProtos: []string{"foo"}}
	long := strings.Repeat("long ", 1000)
	const ssh = "SSH-2.0-OpenSSH_9.9\r\n"
	const ftp = "220-Welcome\r\n220 here\r\n"

	listen(t, 22, says(ssh))
	listen(t, 2222, says("no end of line"))
	listen(t, 21, func(c net.Conn) {
		_, _ = io.WriteString(c, ftp[:13])
		_, _ = io.WriteString(c, ftp[13:])
		_, _ = io.Copy(io.Discard, c)
	})
	listen(t, 8081, says(ssh)) // it greets where HTTP is expected
	listen(t, 8443, says(ssh)) // and where TLS is
	listen(t, 1000, says(""))  // accepts and says nothing
	listen(t, 993, says(""))
	listen(t, 1001, says(long))
	listen(t, 1002, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }) // reset
	listen(t, 1003, func(net.Conn) {})                                      // bye
	listen(t, 1004, func(c net.Conn) {                                      // dribbles, and never ends
		for _, err := io.WriteString(c, "."); err == nil; _, err = io.WriteString(c, ".") {
			time.Sleep(wait / 20)
		}
	})
	listen(t, 465, func(c net.Conn) { // hangs up on TLS, answers else
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err == nil && first[0] == 'G' {
			_, _ = io.WriteString(c, "HTTP/1.0 200 fine\r\n\r\n")
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	listen(t, 1005, func(c net.Conn) { // TLS that hangs up on everything else
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err == nil && first[0] == 0x16 {
			s := tls.Server(&replayed{c, first}, bySelf)
			if s.Handshake() == nil {
				_, _ = io.Copy(io.Discard, s)
			}
		}
	})
	listen(t, 1006, func(c net.Conn) { // TLS that answers everything else with an alert
		s := tls.Server(c, bySelf)
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	})
	serveHTTP(t, 80, nil)
	serveHTTP(t, 1007, nil)
	serveHTTP(t, 9443, nil) // HTTP where TLS is expected
	serveHTTP(t, 443, byCA)
	listen(t, 853, func(c net.Conn) {
		s := tls.Server(c, bySelf)
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	})
	listen(t, 4443, func(c net.Conn) {
		_ = tls.Server(c, &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: picky.Certificates}).Handshake()
	})
	listen(t, 10443, func(c net.Conn) { _ = tls.Server(c, &tls.Config{}).Handshake() }) // it has no certificate
	want := map[uint16]string{
		22: ssh, 2222: "no end of line", 21: ftp, 8081: ssh, 8443: ssh, 1000: "", 993: "", 1001: long[:MaxReply], 1002: "", 1003: "",
		465: "HTTP/1.0 200 fine\r\n\r\n", 1005: "TLS 1.3, CN=box, issuer itself", 1006: "TLS 1.3, CN=box, issuer itself",
		443: "TLS 1.3, h2, CN=www.example.org, issuer Example CA", 853: "TLS 1.3, CN=box, issuer itself",
		4443: "TLS 1.2, CN=www.example.org, issuer Example CA", 10443: "TLS, no handshake: unrecognized name",
	}
	begins := map[uint16]string{1004: "...", 80: "HTTP/1.0 200 OK\r\n", 1007: "HTTP/1.0 200 OK\r\n", 9443: "HTTP/1.1 400 Bad Request\r\n"}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		var ports []uint16
		for p := range want {
			ports = append(ports, p)
		}
		for p := range begins {
			ports = append(ports, p)
		}
		got := talkTo(t, &Prober{Wait: wait}, netip.MustParseAddr(addr), append(ports, 9)...)
		for _, p := range ports {
			r := got[p]
			if r.State != probe.Open || r.Reason != probe.SynAck {
				t.Errorf("%s %d: %+v", addr, p, r)
			}
			if b, ok := begins[p]; ok && !strings.HasPrefix(string(r.Reply), b) || !ok && string(r.Reply) != want[p] {
				t.Errorf("%s %d: %q, want %q", addr, p, r.Reply, want[p]+b)
			}
		}
		if r := got[9]; r.State != probe.Filtered || r.Reason != probe.NoResponse {
			t.Errorf("closed: %+v", r)
		}
	}
}

// replayed is a connection of which something was read already.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(b, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}

// The name that the user gave goes to those who serve many.
func TestName(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	named := make(chan string, 2)
	cert := certificate(t, "other", "")
	serveHTTP(t, 443, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		named <- h.ServerName
		return &cert, nil
	}})
	serveHTTP(t, 80, nil)
	addr := netip.MustParseAddr("127.0.0.1")
	for given, want := range map[string]struct{ host, sni string }{
		"www.example.org": {"www.example.org", "www.example.org"}, "127.0.0.1": {host: "127.0.0.1"}, "": {host: "127.0.0.1"}, "a\r\nb": {host: "127.0.0.1"},
	} {
		got := talkTo(t, &Prober{Wait: 5 * time.Second, Name: func(netip.Addr) string { return given }}, addr, 80, 443)
		if !strings.HasSuffix(string(got[80].Reply), "hello, "+want.host) {
			t.Errorf("%q: %q", given, got[80].Reply)
		}
		if name := <-named; name != want.sni {
			t.Errorf("%q: server name %q", given, name)
		}
	}
}

// Nobody is reset in the middle of what they say: the peer of a banner grab sees it end in order.
func TestClosesProperly(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	ends := make(chan error, 1)
	listen(t, 25, func(c net.Conn) {
		_, err := io.WriteString(c, strings.Repeat("220 much to say\r\n", 1000))
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		ends <- err
	})
	talkTo(t, &Prober{Wait: wait}, netip.MustParseAddr("127.0.0.1"), 25)
	if err := <-ends; !errors.Is(err, io.EOF) {
		t.Errorf("the service saw %v", err)
	}
}

// A host is not talked to by more than so many at once, and every one of its ports has its turn.
func TestPerHost(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	var now, most atomic.Int32
	var ports []uint16
	for p := uint16(2000); p < 2040; p++ {
		ports = append(ports, p)
		listen(t, p, func(c net.Conn) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(5 * time.Millisecond)
			now.Add(-1)
			_, _ = io.WriteString(c, "hello\n")
		})
	}
	for _, p := range []Prober{{PerHost: 3}, {Concurrency: 2}, {}} {
		most.Store(0)
		p.Wait = 10 * time.Second
		got := talkTo(t, &p, netip.MustParseAddr("127.0.0.1"), ports...)
		for _, port := range ports {
			if string(got[port].Reply) != "hello\n" {
				t.Errorf("%d: %+v", port, got[port])
			}
		}
		if limit := int32(max(p.PerHost, p.Concurrency)); limit > 0 && most.Load() > limit {
			t.Errorf("%d at once, want at most %d", most.Load(), limit)
		}
	}
}

// An interrupted scan ends at once, though nobody has said anything, and gives back what was not begun.
func TestInterrupted(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	listen(t, 1000, func(c net.Conn) {
		cancel()
		_, _ = io.Copy(io.Discard, c)
	})
	err := (&Prober{Wait: time.Hour, PerHost: 1}).Probe(ctx, asking(netip.MustParseAddr("127.0.0.1"), 1000, 1001), func(r probe.Result) {
		if r.State != probe.Unsent || r.Target.Port() != 1001 {
			t.Errorf("%+v", r)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A host across a network, that drops some, and by an interface that leads elsewhere.
func TestHosts(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{
			{Ports: lab.Port(25), Banner: []byte("220 ready\r\n")}, {Ports: lab.Port(26), Banner: []byte("220 bye\r\n"), Do: lab.Hangup},
			{Ports: lab.Port(27)}, {Ports: lab.Port(28), Do: lab.Abort}, {Ports: lab.Port(29)},
		},
		Rules: []lab.Rule{{Ports: lab.Port(29), Do: lab.Drop}},
	})
	for _, addr := range []netip.Addr{host.IPv4, host.IPv6} {
		got := talkTo(t, &Prober{Wait: wait, Timeout: wait, Interface: "lab1"}, addr, 25, 26, 27, 28, 29, 30)
		for port, want := range map[uint16]string{25: "220 ready\r\n", 26: "220 bye\r\n", 27: "", 28: ""} {
			if r := got[port]; r.State != probe.Open || string(r.Reply) != want {
				t.Errorf("%v %d: %+v", addr, port, r)
			}
		}
		for _, port := range []uint16{29, 30} {
			if r := got[port]; r.State != probe.Filtered || r.Reason != probe.NoResponse {
				t.Errorf("%v %d: %+v", addr, port, r)
			}
		}
		if r := talkTo(t, &Prober{Wait: wait, Timeout: wait, Interface: "lo"}, addr, 25)[25]; r.State == probe.Open {
			t.Errorf("%v by loopback: %+v", addr, r)
		}
		if r := talkTo(t, &Prober{Wait: wait, Interface: "none"}, addr, 25)[25]; r.State != probe.Unsent || r.Err == nil {
			t.Errorf("%v by an interface that is not there: %+v", addr, r)
		}
	}
}
