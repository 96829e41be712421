package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"sonde/internal/sock"
)

// unused returns a port of loopback where nobody listens.
func unused(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return addrOf(c.LocalAddr())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return addrOf(l.Addr())
}

func TestDialRefused(t *testing.T) {
	addr := unused(t, "tcp")
	_, err := Dialer{}.DialTCP(context.Background(), addr)
	var dial *Error
	if !errors.As(err, &dial) || dial.Ending != sock.Reset || dial.Self {
		t.Fatalf("%+v", err)
	}
	want := "connection refused by " + addr.String() + ": nobody listens on this port, or a firewall says so"
	if runtime.GOOS == "linux" {
		want = "connection refused by " + addr.String() + ": a host is there, nobody listens on this port"
	}
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// With the destination as its source, a connection is one to itself.
func TestDialIsNeverToItself(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems refuse to begin with")
	}
	var dial *Error
	addr := unused(t, "tcp")
	if _, err := (Dialer{Source: addr}).DialTCP(context.Background(), addr); !errors.As(err, &dial) || !dial.Self || dial.Ending != sock.Reset {
		t.Errorf("tcp: %v", err)
	}
	addr = unused(t, "udp")
	if _, err := (Dialer{Source: addr}).DialUDP(context.Background(), addr); !errors.As(err, &dial) || !dial.Self || dial.Ending != sock.Reset {
		t.Errorf("udp: %v", err)
	}
}

func TestDialFromSource(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	source := unused(t, "tcp")
	conn, err := Dialer{Source: source}.DialTCP(context.Background(), addrOf(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := addrOf(conn.LocalAddr()); got != source {
		t.Errorf("from %v, want %v", got, source)
	}
}

func TestDialTimesOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Dialer{Timeout: 1}.DialTCP(context.Background(), addrOf(l.Addr()))
	var dial *Error
	if !errors.As(err, &dial) || dial.Ending != sock.TimedOut {
		t.Fatal(err)
	}
	wantContains(t, err.Error(), "no reply to our SYN within 1ns")
}

func TestDialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("told to")
	cancel(cause)
	if _, err := (Dialer{}).DialTCP(ctx, unused(t, "tcp")); !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestMaxPayloadIsTheSystemsOwn(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		peer, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Logf("%s: %v", address, err)
			continue
		}
		defer peer.Close()
		addr := addrOf(peer.LocalAddr())
		conn, err := Dialer{}.DialUDP(context.Background(), addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if runtime.GOOS != "linux" {
			continue // others have limits of their own below
		}
		if _, err := conn.Write(make([]byte, MaxPayload(addr.Addr()))); err != nil {
			t.Errorf("%s: the most that fits: %v", address, err)
		}
		if _, err := conn.Write(make([]byte, MaxPayload(addr.Addr())+1)); err == nil {
			t.Errorf("%s: one byte more fits", address)
		}
	}
}

func TestSplitAddress(t *testing.T) {
	for _, c := range []struct{ text, host, port, err string }{
		{"localhost:80", "localhost", "80", ""},
		{"localhost:http", "localhost", "http", ""},
		{"127.0.0.1:80", "127.0.0.1", "80", ""},
		{"[::1]:80", "::1", "80", ""},
		{"[fe80::1%eth0]:80", "fe80::1%eth0", "80", ""},
		{"localhost", "localhost", "", "no port given"},
		{"localhost:", "localhost", "", "no port given"},
		{"::1", "::1", "", "no port given"},
		{"[::1]", "::1", "", "no port given"},
		{"127.0.0.1", "127.0.0.1", "", "no port given"},
		{":80", "", "", "no host given"},
		{"", "", "", "no port given"},
		{"a:b:c", "", "", "too many colons in address"},
		{"[::1:80", "", "", "missing ']' in address"},
	} {
		host, port, err := SplitAddress(c.text)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if host != c.host || port != c.port || got != c.err {
			t.Errorf("%q: %q, %q, %v", c.text, host, port, err)
		}
	}
}

func FuzzSplitAddress(f *testing.F) {
	for _, seed := range []string{"localhost:80", "[::1]:80", "::1", "[fe80::1%eth0]:http", ":", "[]:1", "[", "a:b:c", "[a]b:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host, port, err := SplitAddress(text)
		if err != nil {
			return
		}
		if host == "" || port == "" {
			t.Fatalf("%q: host %q, port %q", text, host, port)
		}
		if back := net.JoinHostPort(host, port); back != text && "["+strings.TrimSuffix(text, ":"+port)+"]:"+port != back && !strings.Contains(text, "[") {
			t.Errorf("%q is put together as %q", text, back)
		}
	})
}
