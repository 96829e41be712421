package cli

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sonde/internal/cert"
	"sonde/internal/serve"
)

// makeCert is the scripts' make-cert.
func makeCert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: make-cert CERT KEY AGE")
	}
	age, err := time.ParseDuration(args[2])
	ts.Check(err)
	made, err := cert.SelfSigned([]string{"localhost"}, time.Now().Add(-age))
	ts.Check(err)
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	ts.Check(err)
	for i, b := range []*pem.Block{{Type: "CERTIFICATE", Bytes: made.Certificate[0]}, {Type: "PRIVATE KEY", Bytes: key}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[i]), pem.EncodeToMemory(b), 0o600))
	}
}

// TestCertificateIsForWhatClientsType: the name that was given, and each address; of all addresses those of this machine.
func TestCertificateIsForWhatClientsType(t *testing.T) {
	hosts := func(host, addr string) []string {
		s, err := serve.Bind(t.Context(), serve.Want{Addrs: []netip.Addr{netip.MustParseAddr(addr)}, TCP: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return hostsOf(host, s)
	}
	if got, want := hosts("my.example", "127.0.0.1"), []string{"localhost", "my.example", "127.0.0.1"}; !slices.Equal(got, want) {
		t.Errorf("for %v, want %v", got, want)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	for _, want := range []string{"localhost", name, "127.0.0.1"} {
		if got := hosts("*", "0.0.0.0"); !slices.Contains(got, want) || slices.ContainsFunc(got, func(h string) bool { return net.ParseIP(h) == nil && h != name && h != "localhost" }) {
			t.Errorf("for %v, want %s among them", got, want)
		}
	}
}
