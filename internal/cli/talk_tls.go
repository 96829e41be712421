package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"sonde/internal/cert"
)

// trustFlags are what a client asks of the server that it talks to under TLS.
type trustFlags struct {
	tls, insecure       bool
	serverName, ca, pin string
	alpn                []string
	given               func(flag string) bool
}

func (f *trustFlags) register(flags *pflag.FlagSet) {
	f.given = flags.Changed
	flags.BoolVar(&f.tls, "tls", false, "talk under TLS")
	flags.StringVar(&f.serverName, "servername", "", "with --tls: the `NAME` to ask for (SNI), which the certificate must have (default: HOST)")
	flags.StringSliceVar(&f.alpn, "alpn", nil, "with --tls: offer these `PROTOCOLS`, as h2,http/1.1")
	flags.StringVar(&f.ca, "ca", "", "with --tls: trust the authorities in `FILE` (PEM), not this machine's")
	flags.StringVar(&f.pin, "pin", "", "with --tls: trust the certificate with this `FINGERPRINT` alone, as sha256:…, or as openssl prints it")
	flags.BoolVar(&f.insecure, "insecure", false, "with --tls: trust anybody")
}

// check refuses what does not go together.
func (f *trustFlags) check(udp bool) error {
	if f.tls && udp {
		return misuse(errors.New("--tls does not go with --udp"), "leave one out: TLS needs a stream, and DTLS is not spoken here")
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"servername", f.serverName != ""}, {"alpn", len(f.alpn) > 0}, {"ca", f.ca != ""}, {"pin", f.pin != ""}, {"insecure", true}} {
		switch {
		case f.given(flag.name) && !f.tls:
			return misuse(fmt.Errorf("--%s is for TLS", flag.name), "add --tls")
		case f.given(flag.name) && !flag.set: // a variable of the shell's that is not set: others must not be trusted instead
			return misuse(fmt.Errorf("--%s is empty", flag.name), "give it its value, or leave it out")
		}
	}
	switch {
	case f.insecure && f.pin != "":
		return misuse(errors.New("--insecure and --pin exclude each other"), "leave --insecure out: the fingerprint is proof enough")
	case f.insecure && f.ca != "":
		return misuse(errors.New("--insecure and --ca exclude each other"), "leave one out")
	}
	return nil
}

// readTrust reads what the flags name. The name is the server's, where --servername gives no other.
func (f *trustFlags) readTrust(name string) (cert.Trust, error) {
	t := cert.Trust{ServerName: name, ALPN: f.alpn, Insecure: f.insecure}
	if f.serverName != "" {
		t.ServerName = f.serverName
	}
	if t.ServerName == "" && f.pin == "" && !f.insecure {
		return t, misuse(errors.New("there is no name that the certificate could be for"),
			"give one: --servername NAME; or trust the certificate itself: --pin sha256:…")
	}
	if f.pin != "" {
		sum, err := cert.ParseFingerprint(f.pin)
		if err != nil {
			return t, misuse(fmt.Errorf("--pin: %w", err), "'sonde echo --tls' prints its own; of another server 'sonde talk --tls --insecure -v' shows it")
		}
		t.Pin = &sum
	}
	if f.ca != "" {
		roots, err := cert.LoadRoots(f.ca)
		var file *cert.FileError
		if errors.As(err, &file) {
			return t, failure(file, file.Next)
		}
		if err != nil {
			return t, failure(err)
		}
		t.Roots = roots
	}
	return t, nil
}
