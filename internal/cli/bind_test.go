package cli

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"sonde/internal/probe"
	"sonde/internal/serve"
)

func TestParseBind(t *testing.T) {
	for text, want := range map[string]bindAddr{
		"":                {"localhost", 9, false},
		"9000":            {"localhost", 9000, true},
		":9000":           {"localhost", 9000, true},
		"0":               {"localhost", 0, true},
		"localhost":       {"localhost", 9, false},
		"localhost:9000":  {"localhost", 9000, true},
		"192.0.2.1":       {"192.0.2.1", 9, false},
		"192.0.2.1:9000":  {"192.0.2.1", 9000, true},
		"*":               {"*", 9, false},
		"*:9000":          {"*", 9000, true},
		"::1":             {"::1", 9, false},
		"::":              {"::", 9, false},
		"[::1]":           {"::1", 9, false},
		"[::1]:9000":      {"::1", 9000, true},
		"[fe80::1%lo]:90": {"fe80::1%lo", 90, true},
		"my-host.example": {"my-host.example", 9, false},
	} {
		if got, err := parseBind(text, 9); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"65536", ":65536", "localhost:x", "localhost:", "a:b:c", "[::1", "[::1]9", "localhost:-1", ":"} {
		_, err := parseBind(text, 9)
		var e *exitError
		if !errors.As(err, &e) || e.code != exitMisused || len(e.hints) == 0 {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseBind(f *testing.F) {
	for _, text := range []string{"", "9000", "[::1]:9000", "*:1", "a:b:c", "[fe80::1%lo]", "::"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parseBind(text, 9)
		if err == nil && b.host == "" {
			t.Errorf("%q binds no host", text)
		}
		if port := strings.TrimPrefix(text, ":"); err == nil && allDigits(port) && b.host != "localhost" {
			t.Errorf("port %s alone must stay on localhost, not %q", port, b.host)
		}
	})
}

func TestBindFailuresAreWorded(t *testing.T) {
	cmd := &cobra.Command{Use: "echo"}
	for errno, want := range map[syscall.Errno]string{
		syscall.EACCES:        "no permission to listen on tcp 127.0.0.1:80",
		syscall.EADDRINUSE:    "tcp 127.0.0.1:80 is in use by another program",
		syscall.EADDRNOTAVAIL: "127.0.0.1 is no address of this machine",
	} {
		err := bindFailure(cmd, &serve.BindError{Proto: probe.TCP, Addr: netip.MustParseAddrPort("127.0.0.1:80"), Err: os.NewSyscallError("bind", errno)})
		var e *exitError
		if !errors.As(err, &e) || e.code != exitFailed || e.Error() != want || len(e.hints) != 2 {
			t.Errorf("%v: %v, hints %q", errno, err, e.hints)
		}
	}
}

func TestNumbersInTheLog(t *testing.T) {
	for got, want := range map[string]string{
		quantity(1, "byte"): "1 byte", quantity(0, "byte"): "0 bytes", howOften(1): "once", howOften(3): "3 times",
		logDuration(1_234_567): "1.2 ms", logDuration(1_200_000_000): "1.2 s", logDuration(90_000_000_000): "1m30s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
