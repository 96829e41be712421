package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// A FileError says what is wrong with a file that was to hold a certificate or a key, and what to do about it.
type FileError struct {
	File string
	What string // fits after the file's name: "has expired on …"
	Next string // the next step
	Err  error  // the system's; nil if the file could be read
}

// Error names the file and what is wrong with it.
func (e *FileError) Error() string { return e.File + " " + e.What }

// Unwrap returns the system's error.
func (e *FileError) Unwrap() error { return e.Err }

// Load reads a certificate, with those that vouch for it behind it, and its key, both PEM. The certificate must be valid now.
// Its error is a *FileError.
func Load(certFile, keyFile string, now time.Time) (tls.Certificate, error) {
	certs, err := readFile(certFile, "certificate")
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readFile(keyFile, "key")
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := checkCert(certFile, certs, "name the certificate first: --tls-cert CERT --tls-key KEY"); err != nil {
		return tls.Certificate{}, err
	}
	if err := checkKey(keyFile, key); err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certs, key)
	if err != nil {
		return tls.Certificate{}, pairError(certFile, keyFile, err)
	}
	return pair, checkValid(certFile, pair.Leaf, now)
}

// LoadRoots reads the authorities that a client trusts, PEM. Its error is a *FileError.
func LoadRoots(file string) (*x509.CertPool, error) {
	text, err := readFile(file, "certificates")
	if err != nil {
		return nil, err
	}
	if err := checkCert(file, text, "name the file with the certificates of those who vouch for the server: --ca FILE"); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &FileError{File: file, What: "holds no certificate that can be read", Next: "look into it: openssl x509 -noout -text -in " + file}
	}
	return pool, nil
}

// readFile says in words why a file cannot be read.
func readFile(file, what string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		return text, nil
	}
	e := &FileError{File: file, What: "cannot be read", Next: "name the file that holds the " + what, Err: err}
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.What = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		e.What, e.Next = "may not be read by this user", "look who may: ls -l "+file
	case errors.Is(err, syscall.EISDIR):
		e.What = "is a directory"
	case errors.As(err, &path):
		e.What += ": " + path.Err.Error()
	}
	return nil, e
}

// checkCert refuses a file without a certificate. For one that holds a key instead the next step is given.
func checkCert(file string, text []byte, next string) error {
	types := blocks(text)
	switch {
	case len(types) == 0:
		return &FileError{File: file, What: "is no PEM file: it has no line -----BEGIN CERTIFICATE-----",
			Next: "DER is converted by: openssl x509 -inform der -in " + file + " -out cert.pem"}
	case types["CERTIFICATE"]:
		return nil
	case hasKey(types):
		return &FileError{File: file, What: "holds a key and no certificate", Next: next}
	}
	return &FileError{File: file, What: "holds no certificate", Next: "it must have a block -----BEGIN CERTIFICATE-----"}
}

// checkKey refuses a file without a key that can be used as it is.
func checkKey(file string, text []byte) error {
	types := blocks(text)
	switch {
	case len(types) == 0:
		return &FileError{File: file, What: "is no PEM file: it has no line -----BEGIN PRIVATE KEY-----",
			Next: "DER is converted by: openssl pkey -inform der -in " + file + " -out key.pem"}
	case types["ENCRYPTED PRIVATE KEY"], bytes.Contains(text, []byte("Proc-Type: 4,ENCRYPTED")):
		return &FileError{File: file, What: "holds an encrypted key", Next: "decrypt it: openssl pkey -in " + file + " -out plain.pem"}
	case !hasKey(types):
		return &FileError{File: file, What: "holds no private key", Next: "it must have a block -----BEGIN PRIVATE KEY-----"}
	}
	return nil
}

// blocks returns the types of a file's PEM blocks.
func blocks(text []byte) map[string]bool {
	types := map[string]bool{}
	for {
		var b *pem.Block
		b, text = pem.Decode(text)
		if b == nil {
			return types
		}
		types[b.Type] = true
	}
}

// hasKey takes what crypto/tls takes: PKCS #8, PKCS #1 and SEC 1.
func hasKey(types map[string]bool) bool {
	for t := range types {
		if strings.HasSuffix(t, "PRIVATE KEY") && t != "ENCRYPTED PRIVATE KEY" {
			return true
		}
	}
	return false
}

// pairError words why two files that are what they should be do not make a pair. crypto/tls has no error of its own for
// keys that differ.
func pairError(certFile, keyFile string, err error) error {
	if strings.Contains(err.Error(), "does not match") {
		return &FileError{File: keyFile, What: "is not the key of the certificate in " + certFile,
			Next: "both of these print the same for a pair: openssl x509 -noout -pubkey -in " + certFile + "; openssl pkey -pubout -in " + keyFile, Err: err}
	}
	return &FileError{File: certFile, What: fmt.Sprintf("and %s cannot be used: %v", keyFile, err), Next: "look into it: openssl x509 -noout -text -in " + certFile, Err: err}
}

// checkValid refuses a certificate that every client would refuse.
func checkValid(file string, c *x509.Certificate, now time.Time) error {
	what := notValid(c, now)
	if what == "" {
		return nil
	}
	next := "renew it, or take --tls for one that is made on the spot"
	if now.Before(c.NotBefore) {
		next = "look whether this machine's clock is right: date"
	}
	return &FileError{File: file, What: fmt.Sprintf("(%s) %s", subject(c), what), Next: next}
}

// notValid says that a certificate has expired or is not valid yet, and nothing when it is valid.
func notValid(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return "expired on " + day(c.NotAfter)
	case now.Before(c.NotBefore):
		return "is not valid before " + day(c.NotBefore)
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
