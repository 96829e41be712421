// Package cert provides what TLS needs on both sides: a server's certificate, read from files or made on the spot,
// a client's trust in one, and words for a person when they do not fit.
//
// What comes out of certificates is a stranger's text: wherever it goes into words here, what does not show is escaped.
package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

const (
	// clockSlack is how long before its making a certificate is valid, for clients whose clock is slow.
	clockSlack = time.Hour
	// lifetime is how long a certificate made on the spot is valid.
	lifetime = 365 * 24 * time.Hour
)

// SelfSigned makes a certificate for hosts, names and addresses, and a key of its own (ECDSA, P-256). Nobody vouches for it: a
// client trusts it by its fingerprint.
func SelfSigned(hosts []string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // within the 20 octets of RFC 5280 section 4.1.2.2
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "made on the spot by sonde"},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(withoutZone(h)); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// withoutZone takes the interface off a link-local address: a certificate has no place for it.
func withoutZone(host string) string {
	host, _, _ = strings.Cut(host, "%")
	return host
}

const fingerprintPrefix = "sha256:"

// Fingerprint is the SHA-256 of the whole certificate, as --pin takes it.
func Fingerprint(c *x509.Certificate) string { return formatFingerprint(sha256.Sum256(c.Raw)) }

func formatFingerprint(sum [sha256.Size]byte) string {
	return fingerprintPrefix + hex.EncodeToString(sum[:])
}

var errFingerprint = errors.New(`write "sha256:" and 64 hexadecimal digits`)

// fingerprintPrefixes are what may stand before the digits: ours, and that of 'openssl x509 -fingerprint -sha256', in letters of any size.
var fingerprintPrefixes = []string{fingerprintPrefix, "sha256 fingerprint="}

// ParseFingerprint reads what Fingerprint or openssl wrote, or the digits alone. Large letters and colons between bytes are taken too.
func ParseFingerprint(text string) (sum [sha256.Size]byte, err error) {
	digits := cutPrefixFold(strings.TrimSpace(text), fingerprintPrefixes)
	if len(digits) == 3*sha256.Size-1 {
		digits, err = joinBytes(digits)
	}
	if err == nil && len(digits) != 2*sha256.Size {
		err = fmt.Errorf("it has %d digits", len(digits))
	}
	if err == nil {
		_, err = hex.Decode(sum[:], []byte(digits))
	}
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%q is no fingerprint (%w): %w", text, err, errFingerprint)
	}
	return sum, nil
}

// cutPrefixFold returns s without the first of the prefixes that it has.
func cutPrefixFold(s string, prefixes []string) string {
	for _, p := range prefixes {
		if len(s) >= len(p) && strings.EqualFold(s[:len(p)], p) {
			return s[len(p):]
		}
	}
	return s
}

// joinBytes takes the colons out of aa:bb:cc.
func joinBytes(digits string) (string, error) {
	parts := strings.Split(digits, ":")
	for _, p := range parts {
		if len(p) != 2 {
			return "", errors.New("its colons do not stand between bytes")
		}
	}
	return strings.Join(parts, ""), nil
}
