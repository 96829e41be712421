package cert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// A Trust says which server a client takes for the right one. There are three grounds, and all that are given must hold:
//
//   - an authority vouches for the certificate, it is valid now and for ServerName: the default;
//   - the certificate is the one whose fingerprint is Pin. A pin alone is enough for a certificate that nobody vouches for: name
//     and dates say no more about it. With Roots both must hold;
//   - Insecure takes any certificate, but for a pin.
type Trust struct {
	ServerName string         // the name or address that the certificate must be for, sent as SNI if it is a name (RFC 6066 section 3)
	ALPN       []string       // the protocols offered, the preferred one first
	Roots      *x509.CertPool // nil: those of this machine
	Pin        *[sha256.Size]byte
	Insecure   bool
	Now        func() time.Time // nil: time.Now
}

// A PinError says that the server has another certificate than the one pinned.
type PinError struct {
	Got, Want string // fingerprints
}

// Error tells both fingerprints.
func (e *PinError) Error() string {
	return fmt.Sprintf("the server's certificate is %s, not %s", e.Got, e.Want)
}

// Config returns the settings of a client that trusts t.
func (t Trust) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: withoutZone(t.ServerName), NextProtos: t.ALPN, Time: t.Now,
		InsecureSkipVerify: true, //nolint:gosec // verify does it: crypto/tls cannot pin, nor do without a name
		VerifyConnection:   t.verify,
	}
}

var (
	errNoCert = errors.New("the server has shown no certificate")
	errNoName = errors.New("there is no name that the certificate could be for")
)

// verify is called at every handshake, those of resumed sessions included.
func (t Trust) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errNoCert
	}
	leaf := s.PeerCertificates[0]
	if t.Pin != nil {
		if sum := sha256.Sum256(leaf.Raw); sum != *t.Pin {
			return &PinError{Got: formatFingerprint(sum), Want: formatFingerprint(*t.Pin)}
		}
	}
	if t.Insecure || t.Pin != nil && t.Roots == nil {
		return nil
	}
	name := withoutZone(t.ServerName)
	if name == "" {
		return errNoName // x509 would take any
	}
	options := x509.VerifyOptions{Roots: t.Roots, DNSName: name, Intermediates: x509.NewCertPool(), CurrentTime: t.now()}
	for _, c := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(options)
	return err
}

func (t Trust) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}
