package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mostNames is how many of a certificate's names are told: some have hundreds.
const mostNames = 8

// An explained error has words for a person; what it was is underneath.
type explained struct {
	words string
	err   error
}

func (e *explained) Error() string { return e.words }
func (e *explained) Unwrap() error { return e.err }

// Explain puts what failed a handshake into words for a person, on either side. An error that it does not know is returned as it is.
func Explain(err error) error {
	if words := explain(err); words != "" {
		return &explained{words, err}
	}
	return err
}

func explain(err error) string {
	var (
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case IsMirrored(err):
		return "it sent our own hello back: an echo server without TLS"
	case errors.As(err, &invalid):
		return explainInvalid(invalid)
	case errors.As(err, &name):
		return explainName(name)
	case errors.As(err, &unknown):
		if c := unknown.Cert; c != nil && c.Subject.String() != c.Issuer.String() {
			return fmt.Sprintf("nobody that this machine trusts vouches for the certificate (%s), issued by %s", subject(c), issuer(c))
		}
		return "nobody vouches for the certificate: it is self-signed"
	case errors.As(err, &record):
		return "the peer does not speak TLS" + begins(record)
	case errors.As(err, &alert):
		return "the peer refused the handshake: " + strings.TrimPrefix(alert.Error(), "tls: ")
	case isAlert(err):
		return "the peer refused the handshake: " + afterLast(err.Error(), "tls: ")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the peer closed the connection during the handshake"
	}
	return ""
}

// IsMirrored reports whether a client got its own ClientHello back. crypto/tls has no error of its own for that, but only words.
func IsMirrored(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) { // those around it may have words of their own
		if strings.Contains(err.Error(), "unexpected handshake message of type *tls.clientHelloMsg when waiting for *tls.serverHelloMsg") {
			return true
		}
	}
	return false
}

// isAlert reports whether the peer sent an alert: outside of QUIC its type is not exported, but its words are fixed (tls.Conn's "remote error").
func isAlert(err error) bool {
	return err != nil && strings.Contains(err.Error(), "remote error: tls: ")
}

func afterLast(s, sep string) string { return s[strings.LastIndex(s, sep)+len(sep):] }

func explainInvalid(e x509.CertificateInvalidError) string {
	if e.Reason == x509.Expired && e.Cert != nil {
		if strings.Contains(e.Detail, "is before") { // x509 has one reason for both
			return fmt.Sprintf("the certificate (%s) is not valid before %s", subject(e.Cert), day(e.Cert.NotBefore))
		}
		return fmt.Sprintf("the certificate (%s) expired on %s", subject(e.Cert), day(e.Cert.NotAfter))
	}
	return "the certificate cannot be trusted: " + strings.TrimPrefix(e.Error(), "x509: ")
}

func explainName(e x509.HostnameError) string {
	names := namesOf(e.Certificate)
	if len(names) == 0 {
		return fmt.Sprintf("the certificate is not for %s: it names no host at all", visible(e.Host))
	}
	return fmt.Sprintf("the certificate is not for %s but for %s", visible(e.Host), few(names))
}

// begins tells what came in a record's place, which mostly says what the peer speaks.
func begins(e tls.RecordHeaderError) string {
	if h := string(e.RecordHeader[:]); strings.Trim(h, "\x00") != "" {
		return fmt.Sprintf(": what it sent begins with %q", h)
	}
	return ""
}

// Describe tells of a connection what --verbose shows: line by line, how it is protected and who is at the other end.
func Describe(s tls.ConnectionState) []string {
	first := fmt.Sprintf("%s, %s, %v", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.CurveID)
	if s.NegotiatedProtocol != "" {
		first += ", ALPN " + visible(s.NegotiatedProtocol)
	}
	if s.DidResume {
		first += ", resumed"
	}
	lines := []string{first}
	for i, c := range s.PeerCertificates {
		if i > 0 {
			lines = append(lines, fmt.Sprintf("vouched for by %s, until %s", subject(c), day(c.NotAfter)))
			continue
		}
		lines = append(lines, "certificate "+subject(c), "issued by "+issuer(c))
		if names := namesOf(c); len(names) > 0 {
			lines = append(lines, "for "+few(names))
		}
		lines = append(lines, fmt.Sprintf("valid from %s until %s", day(c.NotBefore), day(c.NotAfter)), "fingerprint "+Fingerprint(c))
	}
	return lines
}

func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return visible(s)
	}
	if names := namesOf(c); len(names) > 0 {
		return few(names)
	}
	return "serial " + c.SerialNumber.String()
}

func issuer(c *x509.Certificate) string {
	if c.Subject.String() == c.Issuer.String() {
		return "itself"
	}
	return visible(c.Issuer.String())
}

// namesOf returns the names and addresses that a certificate is for (RFC 9525: subject alternative names only), escaped.
func namesOf(c *x509.Certificate) (names []string) {
	for _, n := range c.DNSNames {
		names = append(names, visible(n))
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func few(names []string) string {
	if len(names) <= mostNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames], ", "), len(names)-mostNames)
}

// visible escapes what does not show, as Go's literals do.
func visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case hidden(r):
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

func hidden(r rune) bool { return !strconv.IsPrint(r) }
