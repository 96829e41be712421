package dial

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"sonde/internal/sock"
)

func TestDialUnix(t *testing.T) {
	paths := []string{filepath.Join(t.TempDir(), "s")}
	if runtime.GOOS == "linux" {
		paths = append(paths, "@sonde-test-"+filepath.Base(t.TempDir()))
	}
	for _, path := range paths {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := Dialer{}.DialUnix(t.Context(), path)
		if err != nil {
			t.Error(err)
		} else {
			_ = conn.Close()
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = l.Close()
		var e *UnixError
		if _, err := (Dialer{}).DialUnix(t.Context(), path); !errors.As(err, &e) || e.Ending != sock.Reset {
			t.Errorf("nobody listens at %s: %v", path, err)
		}
	}
}

func TestWhyNoUnixSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the errors are Linux's")
	}
	dir := t.TempDir()
	file, messages := filepath.Join(dir, "file"), filepath.Join(dir, "messages")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: messages, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "unix:" + filepath.Join(dir, "none") + " does not exist",
		file:                       "unix:" + file + " is no socket",
		dir:                        "unix:" + dir + " is no socket",
		messages:                   "unix:" + messages + " is no stream but a socket for messages",
		"@sonde-test-nobody":       "connection refused by unix:@sonde-test-nobody: nobody listens there",
	} {
		if _, err := (Dialer{}).DialUnix(t.Context(), path); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("told to")
	cancel(cause)
	if _, err := (Dialer{}).DialUnix(ctx, file); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}
