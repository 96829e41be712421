//go:build unix

package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

// TestServerStreams: what a reader takes in its own time arrives whole; one that reads no more is waited for until Close, and not again.
func TestServerStreams(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	out := mayWait(w)
	want := make([]byte, 1<<20)
	for i := range want {
		want[i] = byte(i * i >> 8)
	}
	wrote := make(chan error)
	go func() {
		for n, rest := 1, want; len(rest) > 0; n = n*3 + 1 {
			part := rest[:min(n, len(rest))]
			if k, err := out.Write(part); err != nil || k != len(part) {
				wrote <- errors.Join(err, io.ErrShortWrite)
				return
			}
			rest = rest[len(part):]
		}
		wrote <- nil
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what arrives is not what was written, %v", err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	go func() {
		_, err := out.Write(want)
		wrote <- err
	}()
	_, _ = io.ReadFull(r, got[:1]) // it has begun
	_ = out.Close()
	if err := <-wrote; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a write that nobody reads ends with %v", err)
	}
	_, _ = io.ReadFull(r, got[:pipeBuf])
	if n, err := out.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("afterwards %d bytes are written, %v", n, err)
	}
}
