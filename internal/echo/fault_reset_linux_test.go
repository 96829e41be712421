package echo

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"sonde/internal/sock"
)

// TestResetWaitsForWhatWasEchoed: a client whose window is smaller than the echo has all of it before the reset.
func TestResetWaitsForWhatWasEchoed(t *testing.T) {
	const after = 40_000
	addr := serveTCP(t, &Server{Faults: mustParse(t, "reset-after=40000", 1)})
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2304) })
		return errors.Join(err, cerr)
	}}
	for range 5 {
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(pattern(after)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, pattern(after)) || sock.EndingOf(err) != sock.Reset {
			t.Errorf("%d bytes came back before %v", len(got), err)
		}
		_ = c.Close()
	}
}
