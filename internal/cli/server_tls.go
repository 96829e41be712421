package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"sonde/internal/cert"
	"sonde/internal/serve"
)

// tlsFlags say whether a server's TCP connections are TLS, and with which certificate.
type tlsFlags struct {
	made              bool // on the spot
	certFile, keyFile string
}

func (f *tlsFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.made, "tls", false, "TLS, over TCP only, with a certificate made on the spot; its fingerprint is printed")
	flags.StringVar(&f.certFile, "tls-cert", "", "TLS with the certificate in `FILE` (PEM), those that vouch for it behind it")
	flags.StringVar(&f.keyFile, "tls-key", "", "and its private key in `FILE` (PEM)")
}

func (f *tlsFlags) wanted() bool { return f.made || f.certFile != "" || f.keyFile != "" }

func (f *tlsFlags) check(udp bool) error {
	switch {
	case f.wanted() && udp:
		return misuse(errors.New("TLS is over TCP and cannot go with --udp"), "serve UDP by a second server, without TLS")
	case f.certFile != "" && f.keyFile == "":
		return misuse(errors.New("--tls-cert needs --tls-key, the certificate's private key"), "--tls alone makes both on the spot")
	case f.keyFile != "" && f.certFile == "":
		return misuse(errors.New("--tls-key needs --tls-cert, the certificate of that key"), "--tls alone makes both on the spot")
	}
	return nil
}

// load reads the certificate that was named. Without one there is nothing to read.
func (f *tlsFlags) load() (tls.Certificate, error) {
	if f.certFile == "" {
		return tls.Certificate{}, nil
	}
	c, err := cert.Load(f.certFile, f.keyFile, time.Now())
	var file *cert.FileError
	if errors.As(err, &file) {
		return c, failure(err, file.Next)
	}
	return c, err
}

// secure returns how the server's connections are protected: nil if they are not. loaded is what load returned.
func (f *tlsFlags) secure(loaded tls.Certificate, host string, sockets *serve.Sockets) (*tls.Config, error) {
	if !f.wanted() {
		return nil, nil
	}
	if loaded.Leaf == nil {
		made, err := cert.SelfSigned(hostsOf(host, sockets), time.Now())
		if err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
		loaded = made
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{loaded}}, nil
}

// fingerprint is that of the certificate which config shows.
func fingerprint(config *tls.Config) string { return cert.Fingerprint(config.Certificates[0].Leaf) }

// hostsOf returns the names and addresses by which clients may reach the sockets.
func hostsOf(host string, sockets *serve.Sockets) []string {
	hosts := []string{"localhost"}
	add := func(h string) {
		if h != "" && h != "*" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	if _, err := netip.ParseAddr(host); err != nil {
		add(host)
	}
	for _, l := range sockets.TCP {
		addr := l.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !addr.IsUnspecified() {
			add(addr.WithZone("").String())
			continue
		}
		name, _ := os.Hostname()
		add(name)
		networks, _ := net.InterfaceAddrs() // without them there are the names
		for _, n := range networks {
			if p, err := netip.ParsePrefix(n.String()); err == nil && p.Addr().Is4() == addr.Is4() {
				add(p.Addr().WithZone("").String())
			}
		}
	}
	return hosts
}

// tellClients says how a client gets to trust a certificate made on the spot.
func (a *app) tellClients(f *tlsFlags, config *tls.Config, sockets *serve.Sockets) {
	if f.certFile != "" || len(sockets.TCP) == 0 {
		return
	}
	at := sockets.TCP[0].Addr().(*net.TCPAddr)
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		host = "HOST"
	}
	a.note("nobody vouches for the certificate; a client pins it: sonde talk --tls --pin %s %s %d", fingerprint(config), host, at.Port)
}
