package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"sonde/internal/serve"
	"sonde/internal/sock"
)

// TestWhyNoTLS: what a client did is told in words for a person, for clients as they are.
func TestWhyNoTLS(t *testing.T) {
	for want, err := range map[string]error{
		"the client's answer to the certificate is not encrypted as agreed: it has most likely refused it": errors.New("local error: tls: bad record MAC"),
		"the client broke the protocol: unexpected message":                                                errors.New("local error: tls: unexpected message"),
		"the client has no version of TLS that is served: 1.2 or 1.3":                                      errors.New("tls: client offered only unsupported versions: [302 301]"),
		"no cipher suite supported by both client and server":                                              errors.New("tls: no cipher suite supported by both client and server; client offered: [2f ff]"),
		"the peer refused the handshake: unknown certificate authority":                                    errors.New("remote error: tls: unknown certificate authority"),
		"the peer closed the connection during the handshake":                                              io.EOF,
		"the peer does not speak TLS: what it sent begins with \"GET /\"":                                  tls.RecordHeaderError{RecordHeader: [5]byte([]byte("GET /"))},
	} {
		e := serve.Event{Kind: serve.Ended, Ending: sock.Failed, Err: fmt.Errorf("%w: %w", serve.ErrHandshake, err)}
		if got := whyNoTLS(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestTLSEndsWithCloseNotify: a FIN alone is told as what it is.
func TestTLSEndsWithCloseNotify(t *testing.T) {
	got := logged(t, app{}, func(l *serverLog) {
		l.secure = true
		l.event(serve.Event{Kind: serve.Ended, Ending: sock.ByPeer})
		l.event(serve.Event{Kind: serve.Ended, Ending: sock.ByPeer, Err: serve.ErrTruncated})
	})
	if len(got) != 2 || !strings.Contains(got[0], " closed by peer (close_notify), ") || !strings.Contains(got[1], " closed by peer (FIN without close_notify") {
		t.Errorf("said %q", got)
	}
}
