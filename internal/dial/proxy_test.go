package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"sonde/internal/dial/dialtest"
	"sonde/internal/sock"
)

// serveProxy runs a proxy that resolves greeter.test to a server that speaks first, and returns the address of the proxy and the server's port.
func serveProxy(t *testing.T, p dialtest.Proxy) (addr netip.AddrPort, port uint16) {
	t.Helper()
	greeter := listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 hello\r\n\r\n") // not to be taken for the proxy's
		_, _ = io.Copy(c, c)
	})
	p.Names = map[string]netip.Addr{"greeter.test": greeter.Addr()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Serve(l)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return addrOf(l.Addr()), greeter.Port()
}

// listen serves one client at a time on loopback.
func listen(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return addrOf(l.Addr())
}

func through(t *testing.T, at netip.AddrPort, url, target string) (net.Conn, error) {
	t.Helper()
	p, err := ParseProxy(url)
	if err != nil {
		t.Fatal(err)
	}
	d := Dialer{Timeout: 10 * time.Second}
	if strings.HasPrefix(target, dialtest.Silent) {
		d.Timeout = 50 * time.Millisecond
	}
	conn, err := d.DialTCP(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return conn, d.ConnectThrough(t.Context(), p, conn, target)
}

// The name is the proxy's to resolve, and the first word the target's to say.
func TestConnectThrough(t *testing.T) {
	for _, user := range []string{"", "ann:s3:cret@"} {
		var p dialtest.Proxy
		if user != "" {
			p = dialtest.Proxy{User: "ann", Password: "s3:cret"}
		}
		at, port := serveProxy(t, p)
		for _, scheme := range []string{"socks5://", "socks5h://", "http://"} {
			for _, host := range []string{"greeter.test", "127.0.0.1"} {
				conn, err := through(t, at, scheme+user+"proxy.test", net.JoinHostPort(host, strconv.Itoa(int(port))))
				if err != nil {
					t.Errorf("%s%s to %s: %v", scheme, user, host, err)
					continue
				}
				_, _ = io.WriteString(conn, "ping")
				_ = conn.(*net.TCPConn).CloseWrite()
				all, err := io.ReadAll(conn)
				if want := "HTTP/1.1 hello\r\n\r\nping"; err != nil || string(all) != want {
					t.Errorf("%s%s to %s: %q, %v", scheme, user, host, all, err)
				}
				_ = conn.Close()
			}
		}
	}
}

func TestWhatProxiesRefuse(t *testing.T) {
	at, _ := serveProxy(t, dialtest.Proxy{})
	withUser, _ := serveProxy(t, dialtest.Proxy{User: "ann", Password: "secret"})
	broken := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-\x1b[2J\r\n\r\n"); _, _ = c.Read(make([]byte, 99)) })
	jester := listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 502 TARGET is away\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	nobody := unused(t, "tcp")
	for _, c := range []struct {
		url    string
		at     netip.AddrPort
		target string
		fault  ProxyFault
		ending sock.Ending
		words  string
	}{
		{"socks5://p", at, "fails.test:1", ProxyBroken, sock.Failed, "failed to connect to fails.test:1 and does not say why (SOCKS5: general failure)"},
		{"socks5://p", at, "denied.test:1", ProxyDenied, sock.Failed, "refuses to connect to denied.test:1 (SOCKS5: not allowed by its rules)"},
		{"socks5://p", at, "noroute.test:1", BehindProxy, sock.Failed, "has no route to noroute.test:1 (SOCKS5: network unreachable)"},
		{"socks5://p", at, "dead.test:1", BehindProxy, sock.Failed, "could not reach dead.test:1 (SOCKS5: host unreachable)"},
		{"socks5://p", at, nobody.String(), BehindProxy, sock.Failed, "reached " + nobody.String() + ", where the connection was refused (SOCKS5: connection refused)"},
		{"socks5://p", at, "late.test:1", BehindProxy, sock.Failed, "could not reach late.test:1 (SOCKS5: TTL expired)"},
		{"socks5://p", at, "nocommand.test:1", ProxyCannot, sock.Failed, "makes no connections (SOCKS5: command not supported)"},
		{"socks5://p", at, "notype.test:1", ProxyCannot, sock.Failed, "does not take such an address as notype.test:1 (SOCKS5: address type not supported)"},
		{"socks5://p", at, "silent.test:1", ProxyBroken, sock.TimedOut, "did not say within 50ms whether it reached silent.test:1"},
		{"socks5://p", at, "closing.test:1", ProxyBroken, sock.Failed, "closed the connection instead of answering"},
		{"socks5://p", withUser, "dead.test:1", ProxyWantsUser, sock.Failed, "wants a user and a password, or another proof of who asks (SOCKS5: no acceptable method)"},
		{"socks5://ann:wrong@p", withUser, "dead.test:1", ProxyBadUser, sock.Failed, "does not accept this user and password (SOCKS5)"},
		{"socks5://p", broken, "dead.test:1", ProxyBroken, sock.Failed, "does not answer as a SOCKS5 proxy does: unexpected protocol version 83"},
		{"http://p", at, "fails.test:1", ProxyBroken, sock.Failed, "made no connection to fails.test:1 (500 Internal Server Error)"},
		{"http://p", at, "denied.test:1", ProxyDenied, sock.Failed, "refuses to connect to denied.test:1 (403 Forbidden)"},
		{"http://p", at, "dead.test:1", BehindProxy, sock.Failed, "could not reach dead.test:1 (502 Bad Gateway)"},
		{"http://p", jester, "dead.test:1", BehindProxy, sock.Failed, "could not reach dead.test:1 (502 TARGET is away)"},
		{"http://p", at, "late.test:1", BehindProxy, sock.TimedOut, "got no answer from late.test:1 (504 Gateway Timeout)"},
		{"http://p", at, "nocommand.test:1", ProxyCannot, sock.Failed, "makes no connections (405 Method Not Allowed to CONNECT)"},
		{"http://p", at, "silent.test:1", ProxyBroken, sock.TimedOut, "did not say within 50ms whether it reached silent.test:1"},
		{"http://p", at, "closing.test:1", ProxyBroken, sock.Failed, "closed the connection instead of answering"},
		{"http://p", withUser, "dead.test:1", ProxyWantsUser, sock.Failed, "wants a user and a password (407 Proxy Authentication Required)"},
		{"http://ann:wrong@p", withUser, "dead.test:1", ProxyBadUser, sock.Failed, "does not accept this user and password (407 Proxy Authentication Required)"},
		{"http://p", broken, "dead.test:1", ProxyBroken, sock.Failed, `does not answer as an HTTP proxy does: malformed HTTP response "SSH-2.0-\x1b[2J"`},
	} {
		_, err := through(t, c.at, c.url, c.target)
		var e *ProxyError
		if !errors.As(err, &e) || e.Fault != c.fault || e.Ending != c.ending {
			t.Errorf("%s to %s: %+v", c.url, c.target, err)
			continue
		}
		if got, want := err.Error(), "the proxy "+e.Proxy.String()+" "+c.words; got != want {
			t.Errorf("%s to %s:\n%s, want\n%s", c.url, c.target, got, want)
		}
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("the password is told: %v", err)
		}
	}
}

func TestConnectThroughEndsWithItsContext(t *testing.T) {
	at, _ := serveProxy(t, dialtest.Proxy{})
	cause := errors.New("told to")
	for _, url := range []string{"socks5://p", "http://p"} {
		p, _ := ParseProxy(url)
		conn, err := Dialer{}.DialTCP(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
		if err := (Dialer{}).ConnectThrough(ctx, p, conn, dialtest.Silent+":1"); !errors.Is(err, cause) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestParseProxy(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"socks5://localhost", "socks5://localhost:1080", ""},
		{"socks5h://[::1]:9050", "socks5://[::1]:9050", ""},
		{"http://ann:secret@proxy.example:3128/", "http://ann@proxy.example:3128", ""},
		{"http://proxy.example", "http://proxy.example:80", ""},
		{"", "", "it is no URL like socks5://HOST:PORT or http://HOST:PORT"},
		{"localhost:1080", "", "it is no URL like socks5://HOST:PORT or http://HOST:PORT"},
		{"socks4://localhost", "", "socks4:// is no kind of proxy that is known here: socks5:// and http:// are"},
		{"https://localhost", "", "https:// is no kind of proxy that is known here: socks5:// and http:// are"},
		{"httph://localhost", "", "httph:// is no kind of proxy that is known here: socks5:// and http:// are"},
		{"socks5://:1080", "", "it names no host"},
		{"socks5://localhost:0", "", "its port 0 is not between 1 and 65535"},
		{"socks5://localhost:70000", "", "its port 70000 is not between 1 and 65535"},
		{"http://localhost/path", "", "it ends in more than a port"},
		{"http://:secret@localhost", "", "it has a password and no user"},
		{"http://a%3Ab:secret@localhost", "", "its user has a colon, which HTTP takes for the end of it"},
		{"socks5://" + strings.Repeat("x", 256) + "@localhost", "", "its user or password is longer than the 255 bytes that SOCKS5 has room for"},
	} {
		p, err := ParseProxy(c.text)
		got, why := p.String(), ""
		if err != nil {
			got, why = "", err.Error()
		}
		if got != c.want || why != c.err {
			t.Errorf("%s: %s, %v; want %s, %s", c.text, got, err, c.want, c.err)
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, seed := range []string{"socks5://ann:secret@[::1]:1080", "http://proxy.example", "socks5h://", "http://a%00b@c:1", "://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProxy(text)
		if err != nil {
			return
		}
		if p.Host == "" || p.Port == 0 || p.Scheme != "socks5" && p.Scheme != "http" {
			t.Fatalf("%q: %+v", text, p)
		}
		if again, err := ParseProxy(p.String()); err != nil || again.address() != p.address() {
			t.Fatalf("%q: %v does not read back: %v", text, p, err)
		}
	})
}
