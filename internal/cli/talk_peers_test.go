package cli

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"sonde/internal/cert"
	"sonde/internal/dial/dialtest"
)

// peerMain is a program for scripts: a server of the kind that its first word names, until it is interrupted. It
// says "listening" and where.
//
//	peer echo ADDR                 TCP
//	peer unix PATH                 a Unix socket
//	peer tls NAME HOURS CAFILE     TLS, by a certificate for NAME that is HOURS old, which it writes to CAFILE; by ALPN it speaks "echo"
//	peer proxy [USER PASSWORD]     SOCKS5 and HTTP; it alone can resolve hidden.test, to 127.0.0.1
//	peer slow                      one port, on 127.0.0.2 where nobody answers and on 127.0.0.3 where somebody does
func peerMain() {
	var err error
	switch args := os.Args[1:]; args[0] {
	case "echo":
		err = peerEcho("tcp", args[1], nil)
	case "unix":
		err = peerEcho("unix", args[1], nil)
	case "tls":
		err = peerTLS(args[1], args[2], args[3])
	case "proxy":
		err = peerProxy(args[1:])
	case "slow":
		err = peerSlow()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	<-interrupted
	os.Exit(0)
}

// peerEcho echoes what comes, and its end.
func peerEcho(network, addr string, config *tls.Config) error {
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	fmt.Println("listening", l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if config != nil {
				c = tls.Server(c, config)
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return nil
}

func peerTLS(name, hours, file string) error {
	age, err := strconv.Atoi(hours)
	if err != nil {
		return err
	}
	pair, err := cert.SelfSigned([]string{name}, time.Now().Add(-time.Duration(age)*time.Hour))
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600); err != nil {
		return err
	}
	fmt.Println("fingerprint", strings.TrimPrefix(cert.Fingerprint(pair.Leaf), "sha256:"))
	return peerEcho("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"echo"}})
}

func peerProxy(args []string) error {
	p := dialtest.Proxy{Names: map[string]netip.Addr{"hidden.test": netip.MustParseAddr("127.0.0.1")}}
	if len(args) == 2 {
		p.User, p.Password = args[0], args[1]
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", l.Addr())
	go p.Serve(l)
	return nil
}
