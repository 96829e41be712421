package dial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sonde/internal/cert"
	"sonde/internal/sock"
)

// startTLS talks to a server that has a certificate for localhost and does with its side what serve does.
func startTLS(t *testing.T, trust cert.Trust, serve func(c *tls.Conn, under net.Conn)) (*TLSConn, error) {
	t.Helper()
	pair, err := cert.SelfSigned([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if trust.Roots == nil {
		trust.Roots = x509.NewCertPool()
		trust.Roots.AddCert(pair.Leaf)
	}
	at := listen(t, func(c net.Conn) {
		serve(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}}), c)
	})
	conn, err := Dialer{}.DialTCP(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return Dialer{Timeout: 5 * time.Second}.StartTLS(t.Context(), conn, at.String(), trust)
}

// A close_notify is the end; a FIN without one, between records or within, is not.
func TestTLSTellsATruncation(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(c *tls.Conn, under net.Conn)
		want error
	}{
		{"close_notify", func(c *tls.Conn, _ net.Conn) { _ = c.Close() }, nil},
		{"half-close", func(c *tls.Conn, _ net.Conn) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }, nil},
		{"FIN", func(_ *tls.Conn, under net.Conn) { _ = under.Close() }, ErrTruncated},
		{"FIN within a record", func(_ *tls.Conn, under net.Conn) {
			_, _ = under.Write([]byte{23, 3, 3, 0, 99, 1})
			_ = under.Close()
		}, ErrTruncated},
	} {
		conn, err := startTLS(t, cert.Trust{ServerName: "localhost"}, func(s *tls.Conn, under net.Conn) {
			_, _ = io.WriteString(s, "last words")
			c.end(s, under)
		})
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(conn)
		if string(all) != "last words" || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v", c.name, all, err)
		}
		_ = conn.Close()
	}
}

func TestTLSFailures(t *testing.T) {
	shake := func(c *tls.Conn, _ net.Conn) { _ = c.Handshake(); _, _ = io.Copy(io.Discard, c) }
	for _, c := range []struct {
		name   string
		trust  cert.Trust
		serve  func(*tls.Conn, net.Conn)
		ending sock.Ending
		words  string
	}{
		{"another name", cert.Trust{ServerName: "other.test"}, shake, sock.Failed, "the certificate is not for other.test but for localhost"},
		{"expired", cert.Trust{ServerName: "localhost", Now: func() time.Time { return time.Now().Add(10000 * time.Hour) }}, shake, sock.Failed, "expired on 20"},
		{"nobody vouches", cert.Trust{ServerName: "localhost", Roots: x509.NewCertPool()}, shake, sock.Failed, "nobody vouches"},
		{"no TLS", cert.Trust{ServerName: "localhost"}, func(_ *tls.Conn, under net.Conn) {
			_, _ = io.WriteString(under, "220 mail ready\r\n")
			_, _ = io.Copy(io.Discard, under)
		}, sock.Failed, `does not speak TLS`},
		{"FIN", cert.Trust{ServerName: "localhost"}, func(_ *tls.Conn, under net.Conn) {
			_, _ = under.Read(make([]byte, 4096))
		}, sock.Failed, "closed the connection during the handshake"},
		{"RST", cert.Trust{ServerName: "localhost"}, func(_ *tls.Conn, under net.Conn) {
			_, _ = under.Read(make([]byte, 1))
		}, sock.Reset, "reset the connection (RST) during the handshake"},
	} {
		conn, err := startTLS(t, c.trust, c.serve)
		var e *TLSError
		if conn != nil || !errors.As(err, &e) || e.Ending != c.ending || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTLSTimesOutAndEndsWithItsContext(t *testing.T) {
	at := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	dial := func() net.Conn {
		conn, err := Dialer{}.DialTCP(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	_, err := Dialer{Timeout: 20 * time.Millisecond}.StartTLS(t.Context(), dial(), "p", cert.Trust{})
	var e *TLSError
	if !errors.As(err, &e) || e.Ending != sock.TimedOut || err.Error() != "TLS with p: the handshake was not over within 20ms" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("told to")
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, err := (Dialer{}).StartTLS(ctx, dial(), "p", cert.Trust{}); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}

// To abandon it resets the connection under TLS, which a close_notify alone would not.
func TestTLSIsAbandoned(t *testing.T) {
	met := make(chan error, 1)
	conn, err := startTLS(t, cert.Trust{ServerName: "localhost"}, func(s *tls.Conn, _ net.Conn) {
		_, err := io.Copy(io.Discard, s)
		met <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.NetConn().(*net.TCPConn); !ok {
		t.Errorf("under TLS is a %T", conn.NetConn())
	}
	Abandon(conn)
	if err := <-met; sock.EndingOf(err) != sock.Reset {
		t.Errorf("the peer met %v", err)
	}
}

// A read whose deadline passed is no end: what comes later is heard.
func TestTLSReadsOnAfterADeadline(t *testing.T) {
	later := make(chan struct{})
	conn, err := startTLS(t, cert.Trust{ServerName: "localhost"}, func(s *tls.Conn, _ net.Conn) {
		_ = s.Handshake()
		<-later
		_, _ = io.WriteString(s, "at last")
		_ = s.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now())
	if n, err := conn.Read(make([]byte, 9)); n != 0 || sock.EndingOf(err) != sock.TimedOut {
		t.Errorf("%d bytes, %v", n, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	close(later)
	if all, err := io.ReadAll(conn); err != nil || !bytes.Equal(all, []byte("at last")) {
		t.Errorf("%q, %v", all, err)
	}
}
