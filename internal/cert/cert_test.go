package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// shake runs a handshake and returns what each side says of it.
func shake(t *testing.T, server tls.Certificate, client Trust) (state tls.ConnectionState, err, serverErr error) {
	t.Helper()
	a, b := connected(t)
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(b, &tls.Config{Certificates: []tls.Certificate{server}, NextProtos: []string{"echo"}, Time: clock}).Handshake()
	}()
	c := tls.Client(a, client.Config())
	err = c.Handshake()
	return c.ConnectionState(), err, <-done
}

// connected returns the two ends of a connection.
func connected(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func made(t *testing.T, hosts ...string) tls.Certificate {
	t.Helper()
	c, err := SelfSigned(hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pinOf(t *testing.T, c tls.Certificate) *[32]byte {
	t.Helper()
	sum, err := ParseFingerprint(Fingerprint(c.Leaf))
	if err != nil {
		t.Fatal(err)
	}
	return &sum
}

func rootsOf(certs ...tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c.Leaf)
	}
	return pool
}

// TestTrust has every ground on which a client may take a server for the right one, and each alone failing.
func TestTrust(t *testing.T) {
	server, other := made(t, "localhost", "127.0.0.1", "fe80::1%eth0"), made(t, "localhost")
	pin, wrong := pinOf(t, server), pinOf(t, other)
	after := func(d time.Duration) func() time.Time { return func() time.Time { return now.Add(d) } }
	for _, test := range []struct {
		name  string
		trust Trust
		words string // of the refusal; none: trusted
	}{
		{"known authority", Trust{ServerName: "localhost", Roots: rootsOf(server), Now: clock}, ""},
		{"an address", Trust{ServerName: "127.0.0.1", Roots: rootsOf(server), Now: clock}, ""},
		{"an address with a zone", Trust{ServerName: "fe80::1%lo", Roots: rootsOf(server), Now: clock}, ""},
		{"pin alone", Trust{ServerName: "whatever.example", Pin: pin, Now: clock}, ""},
		{"pin and authority", Trust{ServerName: "localhost", Pin: pin, Roots: rootsOf(server), Now: clock}, ""},
		{"insecure", Trust{ServerName: "whatever.example", Insecure: true, Now: clock}, ""},
		{"unknown authority", Trust{ServerName: "localhost", Roots: rootsOf(other), Now: clock}, "nobody vouches for the certificate: it is self-signed"},
		{"other name", Trust{ServerName: "b.example", Roots: rootsOf(server), Now: clock}, "the certificate is not for b.example but for localhost, 127.0.0.1, fe80::1"},
		{"no name", Trust{Roots: rootsOf(server), Now: clock}, "no name"},
		{"expired", Trust{ServerName: "localhost", Roots: rootsOf(server), Now: after(366 * 24 * time.Hour)}, "expired on 2027-07-01 12:00:00 UTC"},
		{"not valid yet", Trust{ServerName: "localhost", Roots: rootsOf(server), Now: after(-2 * time.Hour)}, "is not valid before 2026-07-01 11:00:00 UTC"},
		{"wrong pin", Trust{ServerName: "localhost", Pin: wrong, Now: clock}, "is " + Fingerprint(server.Leaf) + ", not " + Fingerprint(other.Leaf)},
		{"wrong pin, right authority", Trust{ServerName: "localhost", Pin: wrong, Roots: rootsOf(server), Now: clock}, ", not " + Fingerprint(other.Leaf)},
		{"right pin, wrong authority", Trust{ServerName: "localhost", Pin: pin, Roots: rootsOf(other), Now: clock}, "nobody vouches"},
		{"right pin and authority, other name", Trust{ServerName: "b.example", Pin: pin, Roots: rootsOf(server), Now: clock}, "not for b.example"},
		{"insecure, wrong pin", Trust{ServerName: "localhost", Pin: wrong, Insecure: true, Now: clock}, ", not " + Fingerprint(other.Leaf)},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err, serverErr := shake(t, server, test.trust)
			if test.words == "" {
				if err != nil || serverErr != nil {
					t.Errorf("not trusted: %v; the server: %v", err, serverErr)
				}
				return
			}
			if err == nil || !strings.Contains(Explain(err).Error(), test.words) {
				t.Errorf("refused with %v, want %q", Explain(err), test.words)
			}
			if got := Explain(serverErr); serverErr == nil || !strings.HasPrefix(got.Error(), "the peer refused the handshake: ") {
				t.Errorf("the server explains it as %v", got)
			}
		})
	}
}

func TestPinErrorIsTold(t *testing.T) {
	server := made(t, "localhost")
	_, err, _ := shake(t, server, Trust{Pin: new([32]byte)})
	var e *PinError
	if !errors.As(Explain(err), &e) || e.Got != Fingerprint(server.Leaf) || e.Want != "sha256:"+strings.Repeat("0", 64) {
		t.Errorf("%v", err)
	}
}

func TestExplainPeersThatSpeakNoTLS(t *testing.T) {
	for sent, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n\r\n": `the peer does not speak TLS: what it sent begins with "HTTP/"`,
		"":                                 "the peer closed the connection during the handshake",
	} {
		a, b := connected(t)
		_, _ = io.WriteString(b, sent)
		_ = b.(*net.TCPConn).CloseWrite()
		err := tls.Client(a, Trust{Insecure: true}.Config()).Handshake()
		if got := Explain(err); got.Error() != want || !errors.Is(got, err) {
			t.Errorf("%q: %v, want %s", sent, got, want)
		}
	}
	if err := errors.New("another"); Explain(err) != err {
		t.Error("an error that is not known must stay as it is")
	}
}

func TestExplainAnEchoServerWithoutTLS(t *testing.T) {
	a, b := connected(t)
	go func() { _, _ = io.Copy(b, b) }()
	err := tls.Client(a, Trust{Insecure: true}.Config()).Handshake()
	if got, want := Explain(err), "it sent our own hello back: an echo server without TLS"; got.Error() != want || !errors.Is(got, err) || !IsMirrored(got) {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestDescribe(t *testing.T) {
	server := made(t, "localhost", "127.0.0.1", "::1")
	state, err, _ := shake(t, server, Trust{Pin: pinOf(t, server), ALPN: []string{"echo"}})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(Describe(state), "\n")
	for _, want := range []string{"TLS 1.3, TLS_", ", ALPN echo\n", "certificate CN=made on the spot by sonde\n", "issued by itself\n",
		"for localhost, 127.0.0.1, ::1\n", "valid from 2026-07-01 11:00:00 UTC until 2027-07-01 12:00:00 UTC\n", "fingerprint " + Fingerprint(server.Leaf)} {
		if !strings.Contains(got+"\n", want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

// TestStrangersNamesAreEscaped: what a certificate says must not move a terminal's cursor.
func TestStrangersNamesAreEscaped(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	evil := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "\x1b[2J\u202eevil"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, evil, evil, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, leaf}}
	words := strings.Join(Describe(state), "\n")
	for _, reason := range []error{x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired},
		x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"\x1b[2J\u202e\xff"}}, Host: "h\x1b"}} {
		words += "\n" + Explain(reason).Error()
	}
	if strings.ContainsAny(words, "\x1b\u202e") || !utf8.ValidString(words) || !strings.Contains(words, `\x1b[2J\u202eevil`) || !strings.Contains(words, `\xff`) {
		t.Errorf("%q", words)
	}
}

// files writes a pair that is valid from now for d, and returns where.
func files(t *testing.T, from time.Time) (cert, key string) {
	t.Helper()
	pair, err := SelfSigned([]string{"localhost"}, from)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "CERTIFICATE", pair.Certificate[0]), write(t, "PRIVATE KEY", der)
}

func write(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return writeText(t, strings.ReplaceAll(strings.ToLower(kind), " ", "-")+".pem", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func writeText(t *testing.T, name string, text []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLoad(t *testing.T) {
	cert, key := files(t, now)
	pair, err := Load(cert, key, now)
	if err != nil || pair.Leaf == nil {
		t.Fatal(err)
	}
	roots, err := LoadRoots(cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err, _ := shake(t, pair, Trust{ServerName: "localhost", Roots: roots, Now: clock}); err != nil {
		t.Error(Explain(err))
	}
}

// TestLoadSaysWhatIsWrong: each of these is told from the others, with the file and a next step.
func TestLoadSaysWhatIsWrong(t *testing.T) {
	cert, key := files(t, now)
	_, otherKey := files(t, now)
	missing := filepath.Join(t.TempDir(), "missing.pem")
	text := writeText(t, "text", []byte("no PEM at all"))
	encrypted, garbage := write(t, "ENCRYPTED PRIVATE KEY", []byte{1}), write(t, "CERTIFICATE", []byte{1, 2, 3})
	oldKey := writeText(t, "old.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte{1}, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}}))
	old, oldsKey := files(t, now.Add(-lifetime-time.Minute))
	young, youngsKey := files(t, now.Add(2*time.Hour))
	for _, test := range []struct{ cert, key, file, what string }{
		{missing, key, missing, "does not exist"},
		{cert, missing, missing, "does not exist"},
		{cert, t.TempDir(), "", "is a directory"},
		{text, key, text, "is no PEM file"},
		{cert, text, text, "is no PEM file"},
		{key, key, key, "holds a key and no certificate"},
		{cert, cert, cert, "holds no private key"},
		{encrypted, key, encrypted, "holds no certificate"},
		{cert, encrypted, encrypted, "holds an encrypted key"},
		{cert, oldKey, oldKey, "holds an encrypted key"},
		{cert, otherKey, otherKey, "is not the key of the certificate in " + cert},
		{garbage, key, garbage, "cannot be used"},
		{old, oldsKey, old, "(CN=made on the spot by sonde) expired on 2026-07-01 11:59:00 UTC"},
		{young, youngsKey, young, "is not valid before 2026-07-01 13:00:00 UTC"},
	} {
		_, err := Load(test.cert, test.key, now)
		var e *FileError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), test.what) || e.Next == "" || test.file != "" && e.File != test.file {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	if os.Geteuid() > 0 {
		if err := os.Chmod(key, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(cert, key, now); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "may not be read") {
			t.Error(err)
		}
	}
	for _, file := range []string{missing, text, otherKey, garbage} {
		var e *FileError
		if _, err := LoadRoots(file); !errors.As(err, &e) || e.Next == "" || strings.Contains(e.Next, "--tls-") {
			t.Errorf("%s as authorities: %+v", file, e)
		}
	}
}

func TestParseFingerprint(t *testing.T) {
	c := made(t, "localhost")
	plain := Fingerprint(c.Leaf)
	var parts []string
	for i := len("sha256:"); i < len(plain); i += 2 {
		parts = append(parts, strings.ToUpper(plain[i:i+2]))
	}
	colons := strings.Join(parts, ":")
	for _, text := range []string{plain, plain[7:], strings.ToUpper(plain), "SHA256:" + colons, colons, strings.ToLower(colons),
		"SHA256 Fingerprint=" + colons, "sha256 Fingerprint=" + colons, " sha256 Fingerprint=" + colons + "\n"} {
		if sum, err := ParseFingerprint(text); err != nil || formatFingerprint(sum) != plain {
			t.Errorf("%s: %x, %v", text, sum, err)
		}
	}
	for _, text := range []string{"", "sha256", "sha256:", "sha256:" + plain, "sha1:" + plain[7:], "SHA1 Fingerprint=" + colons, plain[:len(plain)-1], plain + "0", plain[:len(plain)-1] + "g",
		"sha256:" + strings.Repeat("a:", 47) + "a", "sha256:" + strings.Repeat(":", 95)} {
		if sum, err := ParseFingerprint(text); err == nil || sum != [32]byte{} || !errors.Is(err, errFingerprint) {
			t.Errorf("%q: %x, %v", text, sum, err)
		}
	}
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("0f", 32))
	f.Add("SHA256:" + strings.Repeat("0F:", 31) + "0F")
	f.Add(strings.Repeat("0f", 32))
	f.Add("SHA256 Fingerprint=" + strings.Repeat("0F:", 31) + "0F\n")
	prefix := regexp.MustCompile(`(?i)^(sha256:|sha256 fingerprint=)`)
	f.Fuzz(func(t *testing.T, text string) {
		sum, err := ParseFingerprint(text)
		if err != nil {
			return
		}
		plain := formatFingerprint(sum)
		if !strings.EqualFold(plain, "sha256:"+strings.ReplaceAll(prefix.ReplaceAllString(strings.TrimSpace(text), ""), ":", "")) {
			t.Errorf("%q is read as %s", text, plain)
		}
	})
}
