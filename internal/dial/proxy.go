package dial

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"sonde/internal/safetext"
)

// A Proxy makes connections for us: a SOCKS5 server (RFC 1928, RFC 1929) or an HTTP proxy's CONNECT
// (RFC 9110 section 9.3.6). It is told a name as it was given, and resolves it itself: it may
// know names that this machine does not, and no name server here learns whom we talk to.
type Proxy struct {
	Scheme string // socks5 or http
	Host   string
	Port   uint16
	User   *url.Userinfo // nil: none
}

// defaultPorts are those of a proxy URL that has none (RFC 1928 section 3; squid's for HTTP is no standard's).
var defaultPorts = map[string]uint16{"socks5": 1080, "http": 80}

// ParseProxy reads SCHEME://[USER:PASSWORD@]HOST[:PORT]. socks5h, which others have for a SOCKS5 proxy that resolves, is the same
// as socks5.
func ParseProxy(text string) (Proxy, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return Proxy{}, errors.New("it is no URL like socks5://HOST:PORT or http://HOST:PORT")
	}
	p := Proxy{Scheme: u.Scheme, Host: u.Hostname(), User: u.User}
	if p.Scheme == "socks5h" {
		p.Scheme = "socks5"
	}
	port, known := defaultPorts[p.Scheme]
	switch {
	case !known:
		return Proxy{}, fmt.Errorf("%s:// is no kind of proxy that is known here: socks5:// and http:// are", u.Scheme)
	case p.Host == "":
		return Proxy{}, errors.New("it names no host")
	case strings.Contains(p.Host, ":") && !strings.HasPrefix(u.Host, "["):
		return Proxy{}, errors.New("its host has a colon: a user and password end in @, and an IPv6 address goes in brackets")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return Proxy{}, errors.New("it ends in more than a port")
	}
	p.Port = port
	if text := u.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return Proxy{}, fmt.Errorf("its port %s is not between 1 and 65535", text)
		}
		p.Port = uint16(n)
	}
	return p, p.checkUser()
}

// checkUser refuses what the protocols have no room for.
func (p Proxy) checkUser() error {
	if p.User == nil {
		return nil
	}
	password, _ := p.User.Password()
	switch {
	case p.User.Username() == "":
		return errors.New("it has a password and no user")
	case p.Scheme == "socks5" && max(len(p.User.Username()), len(password)) > 255:
		return errors.New("its user or password is longer than the 255 bytes that SOCKS5 has room for")
	case p.Scheme == "http" && strings.Contains(p.User.Username(), ":"):
		return errors.New("its user has a colon, which HTTP takes for the end of it")
	}
	return nil
}

// String is the proxy's URL without the password.
func (p Proxy) String() string {
	u := url.URL{Scheme: p.Scheme, Host: p.address()}
	if p.User != nil {
		u.User = url.User(p.User.Username())
	}
	return u.String()
}

func (p Proxy) address() string { return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))) }

// ConnectThrough has the proxy at the other end of conn connect to target, a HOST:PORT, within the Dialer's Timeout. After that
// conn is the connection to target: not a byte of what comes was read. On failure conn is closed. Its error is
// a *ProxyError, or the cause of ctx's end.
func (d Dialer) ConnectThrough(ctx context.Context, p Proxy, conn net.Conn, target string) error {
	within, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	var err error
	if p.Scheme == "http" {
		err = p.connectHTTP(within, conn, target)
	} else {
		err = p.connectSOCKS(within, conn, target)
	}
	if err == nil {
		return nil
	}
	Abandon(conn)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e := &ProxyError{Proxy: p, Target: target, Err: err, within: d.timeout()}
	e.explain()
	return e
}

// connectSOCKS leaves the protocol to golang.org/x/net.
func (p Proxy) connectSOCKS(ctx context.Context, conn net.Conn, target string) error {
	var auth *proxy.Auth
	if p.User != nil {
		password, _ := p.User.Password()
		auth = &proxy.Auth{User: p.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", p.address(), auth, ready{conn})
	if err != nil {
		return err
	}
	_, err = dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
	return err
}

// ready is a dialer whose connection is made.
type ready struct{ net.Conn }

func (r ready) Dial(string, string) (net.Conn, error) { return r.Conn, nil }

func (r ready) DialContext(context.Context, string, string) (net.Conn, error) { return r.Conn, nil }

// mostHeader is how long the head of a proxy's answer may be.
const mostHeader = 64 << 10

// A statusError is an HTTP proxy's refusal.
type statusError struct {
	code   int
	status string // with its code, safe to print
}

func (e *statusError) Error() string { return e.status }

func (p Proxy) connectHTTP(ctx context.Context, conn net.Conn, target string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // which ends what waits
	err := p.askHTTP(conn, target)
	if !stop() {
		return ctx.Err()
	}
	return err
}

func (p Proxy) askHTTP(conn net.Conn, target string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{
		"User-Agent": {"sonde"},
	}}
	if p.User != nil {
		password, _ := p.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(p.User.Username() + ":" + password)) // RFC 7617
		request.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// Byte by byte, because what comes after the head is the target's.
	head := bufio.NewReaderSize(oneByte{io.LimitReader(conn, mostHeader)}, 16)
	response, err := http.ReadResponse(head, request) //nolint:bodyclose // what comes next is no body but the target's, or not wanted
	if err != nil {
		return err
	}
	if response.StatusCode/100 == 2 {
		return nil
	}
	return &statusError{response.StatusCode, safetext.String(response.Status)}
}

type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }
