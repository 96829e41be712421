package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"sonde/internal/sock"
)

// A ProxyFault is what is the matter with a connection through a proxy, and so who can do something about it.
type ProxyFault uint8

// The faults.
const (
	ProxyBroken    ProxyFault = iota // the proxy itself: it closed, is silent, failed, or is none
	ProxyDenied                      // its rules do not allow the target
	ProxyWantsUser                   // it wants a user and a password
	ProxyBadUser                     // it does not accept those that it was given
	ProxyCannot                      // it can make no such connection
	BehindProxy                      // it tried: what is behind it failed
)

// A ProxyError says why a proxy made no connection. The proxy itself was reached.
type ProxyError struct {
	Proxy  Proxy
	Target string
	Fault  ProxyFault
	Ending sock.Ending // TimedOut, Reset; else Failed
	Err    error

	words  string // ours, after the proxy's name; TARGET stands for the target
	said   string // the proxy's, after ours
	within time.Duration
}

// Error says which proxy, which target, and which of the two failed.
func (e *ProxyError) Error() string {
	return fmt.Sprintf("the proxy %v %s%s", e.Proxy, strings.ReplaceAll(e.words, "TARGET", e.Target), e.said)
}

// Unwrap returns what the proxy's protocol made of it.
func (e *ProxyError) Unwrap() error { return e.Err }

func (e *ProxyError) set(fault ProxyFault, words string) { e.Fault, e.words = fault, words }

// explain finds out what the error means.
func (e *ProxyError) explain() {
	e.Ending = sock.EndingOf(e.Err)
	if e.Ending == sock.ByPeer || e.Ending == sock.ByUs {
		e.Ending = sock.Failed // a FIN is no answer
	}
	var status *statusError
	switch {
	case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, os.ErrDeadlineExceeded):
		e.Ending = sock.TimedOut
		e.set(ProxyBroken, fmt.Sprintf("did not say within %v whether it reached TARGET", e.within))
	case errors.As(e.Err, &status):
		e.explainStatus(status)
	case errors.Is(e.Err, io.EOF), errors.Is(e.Err, io.ErrUnexpectedEOF):
		e.set(ProxyBroken, "closed the connection instead of answering")
	case e.Ending == sock.Reset:
		e.set(ProxyBroken, "reset the connection (RST) instead of answering")
	case e.Proxy.Scheme == "http":
		e.set(ProxyBroken, "does not answer as an HTTP proxy does: ")
		e.said = e.Err.Error()
	default:
		e.explainSOCKS()
	}
}

func (e *ProxyError) explainStatus(s *statusError) {
	e.said = " (" + s.status + ")"
	switch s.code {
	case http.StatusProxyAuthRequired:
		e.set(ProxyWantsUser, "wants a user and a password")
		if e.Proxy.User != nil {
			e.set(ProxyBadUser, "does not accept this user and password")
		}
	case http.StatusForbidden, http.StatusUnauthorized, http.StatusUnavailableForLegalReasons:
		e.set(ProxyDenied, "refuses to connect to TARGET")
	case http.StatusGatewayTimeout:
		e.Ending = sock.TimedOut
		e.set(BehindProxy, "got no answer from TARGET")
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusNotFound:
		e.set(BehindProxy, "could not reach TARGET")
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		e.set(ProxyCannot, "makes no connections")
		e.said = " (" + s.status + " to CONNECT)"
	default:
		e.set(ProxyBroken, "made no connection to TARGET")
	}
}

// socksFaults are the refusals of RFC 1928 section 6 and RFC 1929, by the end of golang.org/x/net's words for them, which
// are all that it returns.
var socksFaults = []struct {
	end   string
	fault ProxyFault
	words string
}{
	{"general SOCKS server failure", ProxyBroken, "failed to connect to TARGET and does not say why (SOCKS5: general failure)"},
	{"connection not allowed by ruleset", ProxyDenied, "refuses to connect to TARGET (SOCKS5: not allowed by its rules)"},
	{"network unreachable", BehindProxy, "has no route to TARGET (SOCKS5: network unreachable)"},
	{"host unreachable", BehindProxy, "could not reach TARGET (SOCKS5: host unreachable)"},
	{"connection refused", BehindProxy, "reached TARGET, where the connection was refused (SOCKS5: connection refused)"},
	{"TTL expired", BehindProxy, "could not reach TARGET (SOCKS5: TTL expired)"},
	{"command not supported", ProxyCannot, "makes no connections (SOCKS5: command not supported)"},
	{"address type not supported", ProxyCannot, "does not take such an address as TARGET (SOCKS5: address type not supported)"},
	{"no acceptable authentication methods", ProxyWantsUser, "wants a user and a password, or another proof of who asks (SOCKS5: no acceptable method)"},
	{"username/password authentication failed", ProxyBadUser, "does not accept this user and password (SOCKS5)"},
}

func (e *ProxyError) explainSOCKS() {
	text := e.Err.Error()
	for _, f := range socksFaults {
		if strings.HasSuffix(text, f.end) {
			e.set(f.fault, f.words)
			if f.fault == ProxyWantsUser && e.Proxy.User != nil {
				e.set(ProxyBadUser, "does not take a user and a password as a proof of who asks (SOCKS5: no acceptable method)")
			}
			return
		}
	}
	reason := text[strings.LastIndex(text, ": ")+1:]
	e.set(ProxyBroken, "does not answer as a SOCKS5 proxy does:")
	e.said = reason
}
