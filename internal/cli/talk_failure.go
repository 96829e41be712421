package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"sonde/internal/cert"
	"sonde/internal/dial"
	"sonde/internal/sock"
)

// dialWords is an error with what only this command knows: the source that was asked for.
func dialWords(e *dial.Error, source netip.AddrPort) error {
	switch {
	case e.ICMP != nil:
		return e
	case source.IsValid() && errors.Is(e, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%v is no address of this machine, or cannot reach %v", source.Addr(), e.Addr)
	case source.IsValid() && errors.Is(e, syscall.EADDRINUSE):
		return fmt.Errorf("the source %v is in use already", source)
	case source.IsValid() && errors.Is(e, syscall.EACCES):
		return fmt.Errorf("no permission to talk from %v", source)
	}
	return e
}

// dialFailure adds the exit code and the next step.
func dialFailure(e *dial.Error, source netip.AddrPort) error {
	words := dialWords(e, source)
	scan := fmt.Sprintf("see what the host answers: sonde scan --host %v --ports %d", e.Addr.Addr(), e.Addr.Port())
	switch {
	case !errors.Is(words, error(e)):
		return failure(words, "leave --source out, and the system chooses")
	case e.Met:
		return &exitError{code: exitReset, err: words, hints: []string{"the service is there and does not want to talk: its limits or its access list may say why"}}
	case e.ICMP != nil && e.ICMP.NoNeighbor():
		return failure(words, "is it switched on, and is its address right? see 'ip neigh' and 'ip route'")
	case e.ICMP != nil && e.ICMP.Local, errors.Is(e, syscall.EPERM):
		return failure(words, "its rules say why; see 'nft list ruleset' or 'iptables -S OUTPUT'")
	case e.ICMP != nil && e.ICMP.From == e.Addr.Addr():
		return failure(words, "the host is there, and its firewall lets nobody in here; "+scan)
	case e.ICMP != nil:
		return failure(words, fmt.Sprintf("%v, a router or a firewall on the way, says so; %s", e.ICMP.From, scan))
	case e.Ending == sock.Reset && e.Addr.Addr().IsLoopback():
		return failure(words, fmt.Sprintf("start a server there: sonde echo %v", e.Addr))
	case e.Ending == sock.Reset:
		return failure(words, "is it the right port? "+scan)
	case e.Ending == sock.TimedOut:
		return &exitError{code: exitTimedOut, err: words, hints: []string{"the host is down, or a firewall drops what we send; " + scan}}
	case e.Ending == sock.Limit:
		return &exitError{code: exitLimit, err: words, hints: []string{"this machine is short of descriptors, memory or ports; nothing is known of the peer"}}
	case errors.Is(e, syscall.EINVAL) && e.Addr.Addr().IsLinkLocalUnicast() && e.Addr.Addr().Zone() == "":
		return failure(words, fmt.Sprintf("a link-local address needs its interface: %v%%eth0", e.Addr.Addr()))
	case e.Heard && (errors.Is(e, syscall.EHOSTUNREACH) || errors.Is(e, syscall.EACCES)):
		return failure(words, "a route of this machine forbids that address; see 'ip route'")
	case errors.Is(e, syscall.ENETUNREACH) && !e.Heard:
		return failure(words, "this machine or a router on the way has no route to that address")
	case errors.Is(e, syscall.ENETUNREACH):
		return failure(words, "this machine has no route to that address; see 'ip route'")
	}
	return failure(words)
}

// hopFailure is dialFailure's for the way to a proxy.
func hopFailure(p dial.Proxy, e *dial.Error, source netip.AddrPort) error {
	var told *exitError
	if !errors.As(dialFailure(e, source), &told) {
		return e
	}
	if e.Ending == sock.Reset {
		told.hints = []string{"is the proxy running, and is that its port?"}
	}
	told.err = fmt.Errorf("the proxy %v: %w", p, told.err)
	told.hints = append(told.hints, "nothing is known of what is behind it; without --proxy it is asked itself")
	return told
}

// proxyFailure adds the exit code and the next step to a proxy's refusal.
func proxyFailure(e *dial.ProxyError) error {
	code := exitFailed
	switch e.Ending {
	case sock.TimedOut:
		code = exitTimedOut
	case sock.Reset:
		code = exitReset
	}
	return &exitError{code: code, err: e, hints: []string{proxyHint(e)}}
}

func proxyHint(e *dial.ProxyError) string {
	switch e.Fault {
	case dial.ProxyDenied:
		return "its rules say where it connects to: ask who runs it, or leave --proxy out"
	case dial.ProxyWantsUser:
		return fmt.Sprintf("give them: --proxy %s://USER:PASSWORD@%s", e.Proxy.Scheme, net.JoinHostPort(e.Proxy.Host, fmt.Sprint(e.Proxy.Port)))
	case dial.ProxyBadUser:
		return "check both; a special character in them is written as %NN, a @ as %40"
	case dial.ProxyCannot:
		return "is it the right proxy, and the right port of it?"
	case dial.BehindProxy:
		return fmt.Sprintf("the proxy works, and what failed is behind it: is %s right, as seen from there?", e.Target)
	}
	if e.Ending == sock.TimedOut {
		return "the proxy is there and slow, or what is behind it is; --timeout gives it more time"
	}
	return "is it a proxy, and of that kind? socks5:// and http:// are known"
}

// unixFailure adds the exit code and the next step.
func unixFailure(e *dial.UnixError) error {
	switch {
	case e.NoSocket():
		return failure(e, "name the socket that the server made; see 'ss -lx' for those that there are")
	case errors.Is(e, fs.ErrNotExist):
		return failure(e, "is the server running? see 'ss -lx' for the sockets that there are")
	case errors.Is(e, fs.ErrPermission):
		return failure(e, fmt.Sprintf("who may is told by: ls -l %s", e.Path))
	case e.Ending == sock.Reset:
		return failure(e, "the server that made it is gone; start it again")
	case e.Ending == sock.TimedOut:
		return &exitError{code: exitTimedOut, err: e, hints: []string{"its server is busy or hangs; try again"}}
	case e.Ending == sock.Limit:
		return &exitError{code: exitLimit, err: e, hints: []string{"this machine is short of descriptors or memory; nothing is known of the peer"}}
	}
	return failure(e)
}

// tlsFailure adds the exit code and the next step.
func tlsFailure(e *dial.TLSError) error {
	switch e.Ending {
	case sock.TimedOut:
		return &exitError{code: exitTimedOut, err: e, hints: []string{doubtTLS}}
	case sock.Reset:
		return &exitError{code: exitReset, err: e, hints: []string{doubtTLS}}
	}
	return failure(e, tlsHint(e))
}

const doubtTLS = "does it speak TLS there, and let you in? without --tls it is shown what it says"

func tlsHint(e *dial.TLSError) string {
	var (
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		pin     *cert.PinError
		record  tls.RecordHeaderError
	)
	switch {
	case cert.IsMirrored(e):
		return "leave --tls out"
	case errors.As(e, &invalid) && invalid.Reason == x509.Expired:
		return "is this machine's clock right? see 'date'; if it is, its owner must renew it. --insecure goes on nevertheless, and nobody knows with whom"
	case errors.As(e, &name):
		return "talk to it by a name it is for, or ask for that one: --servername NAME"
	case errors.As(e, &unknown) && e.Cert != nil:
		return fmt.Sprintf("if you know that this is its fingerprint, trust it: --pin %s; or its authority: --ca FILE", cert.Fingerprint(e.Cert))
	case errors.As(e, &pin):
		return "if its owner has renewed it, pin the new one; if not, somebody else answers there"
	case errors.As(e, &record):
		return "is it the right port? without --tls it is shown what it says"
	case e.Cert == nil && strings.Contains(e.Error(), "no application protocol"): // RFC 7301 section 3.2
		return "leave --alpn out, or offer a protocol that it speaks"
	case e.Cert == nil:
		return doubtTLS
	}
	return "see with -v whom it takes itself for: --insecure -v shows its certificate"
}
