// Package dialtest has proxies for tests: they do what the name of the target asks for.
package dialtest

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
)

// A Proxy connects to what it is asked for. A name that Names lacks and Refusals has is refused as that says; any other is unknown.
type Proxy struct {
	User, Password string                // wanted; without them nothing is
	Names          map[string]netip.Addr // that this proxy alone can resolve
}

// Refusals are names of targets, and what a SOCKS5 proxy and an HTTP proxy answer to each (RFC 1928 section 6, RFC 9110 section 15).
var Refusals = map[string]struct {
	Reply  byte
	Status int
}{
	"fails.test":     {1, 500},
	"denied.test":    {2, 403},
	"noroute.test":   {3, 502},
	"dead.test":      {4, 502},
	"refusing.test":  {5, 502},
	"late.test":      {6, 504},
	"nocommand.test": {7, 405},
	"notype.test":    {8, 400},
}

// Silent and Closing are names of targets to which the answer is none, and the end of the connection.
const (
	Silent  = "silent.test"
	Closing = "closing.test"
)

// Serve serves the clients that l accepts, each by SOCKS5 or by HTTP as its first byte says, until l is closed; then
// it ends their connections, and returns when all are gone.
func (p Proxy) Serve(l net.Listener) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		all.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
	for _, c := range open {
		_ = c.Close()
	}
	all.Wait()
}

func (p Proxy) serve(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	if first[0] == 5 {
		p.socks(c, in)
		return
	}
	p.http(c, in)
}

func (p Proxy) socks(c *net.TCPConn, in *bufio.Reader) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(in, head); err != nil {
		return
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(in, methods); err != nil || !p.authenticate(c, in, methods) {
		return
	}
	host, port, err := readRequest(in)
	if err != nil {
		return
	}
	target, reply, _ := p.connect(host, port)
	if !answers(in, host) {
		return
	}
	_, _ = c.Write([]byte{5, reply, 0, 1, 127, 0, 0, 1, 0, 0})
	if target != nil {
		splice(c, in, target)
	}
}

func (p Proxy) authenticate(c net.Conn, in *bufio.Reader, methods []byte) bool {
	want := byte(0)
	if p.User != "" {
		want = 2
	}
	for _, m := range methods {
		if m != want {
			continue
		}
		_, _ = c.Write([]byte{5, want})
		return want == 0 || p.checkUser(c, in)
	}
	_, _ = c.Write([]byte{5, 0xff})
	return false
}

func (p Proxy) checkUser(c net.Conn, in *bufio.Reader) bool {
	_, _ = in.ReadByte()
	user, err := readString(in)
	if err != nil {
		return false
	}
	password, err := readString(in)
	ok := err == nil && user == p.User && password == p.Password
	_, _ = c.Write([]byte{1, map[bool]byte{false: 1}[ok]})
	return ok
}

func readString(in *bufio.Reader) (string, error) {
	n, err := in.ReadByte()
	if err != nil {
		return "", err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(in, text)
	return string(text), err
}

func readRequest(in *bufio.Reader) (host string, port uint16, err error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(in, head); err != nil {
		return "", 0, err
	}
	switch head[3] {
	case 3:
		host, err = readString(in)
	default:
		ip := make([]byte, map[byte]int{1: 4, 4: 16}[head[3]])
		_, err = io.ReadFull(in, ip)
		addr, _ := netip.AddrFromSlice(ip)
		host = addr.String()
	}
	if err != nil {
		return "", 0, err
	}
	err = binary.Read(in, binary.BigEndian, &port)
	return host, port, err
}

func (p Proxy) http(c *net.TCPConn, in *bufio.Reader) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.User+":"+p.Password))
	if p.User != "" && r.Header.Get("Proxy-Authorization") != basic {
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
		return
	}
	host, portText, _ := net.SplitHostPort(r.RequestURI)
	port, _ := strconv.ParseUint(portText, 10, 16)
	target, _, status := p.connect(host, uint16(port))
	if !answers(in, host) {
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nVia: 1.1 dialtest\r\n\r\n", status, http.StatusText(status))
	if target != nil {
		splice(c, in, target)
	}
}

// answers reports whether a client that asks for host gets an answer.
func answers(in *bufio.Reader, host string) bool {
	if host == Silent {
		_, _ = io.Copy(io.Discard, in) // until it goes
	}
	return host != Silent && host != Closing
}

func (p Proxy) connect(host string, port uint16) (target *net.TCPConn, reply byte, status int) {
	addr, ok := p.Names[host]
	if !ok {
		addr, _ = netip.ParseAddr(host)
	}
	if !addr.IsValid() {
		if r, ok := Refusals[host]; ok {
			return nil, r.Reply, r.Status
		}
		return nil, 4, 502
	}
	target, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
	if err != nil {
		return nil, 5, 502
	}
	return target, 0, 200
}

// splice passes both ways what comes, FINs included.
func splice(c *net.TCPConn, in io.Reader, target *net.TCPConn) {
	defer target.Close()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(target, in)
		_ = target.CloseWrite()
	})
	_, _ = io.Copy(c, target)
	_ = c.CloseWrite()
	up.Wait()
}
