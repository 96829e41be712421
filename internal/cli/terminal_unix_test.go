//go:build unix

package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

func TestInterruptibleIsExact(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data := bytes.Repeat([]byte("0123456789abcde"), 100_000)
	go func() {
		n, err := interruptible(w).Write(data)
		if n != len(data) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		_ = w.Close()
	}()
	got, err := io.ReadAll(interruptible(r))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(data), err)
	}
}

// Close ends what waits, and leaves the file as it was: blocking, and open.
func TestInterruptibleIsInterrupted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	in, out := interruptible(r), interruptible(w)
	read, written := make(chan error), make(chan error)
	go func() {
		_, err := in.Read(make([]byte, 1))
		read <- err
	}()
	_ = in.Close()
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	go func() {
		_, err := out.Write(make([]byte, 1<<20)) // more than a pipe holds
		written <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 1<<15)); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	if err := <-written; !errors.Is(err, os.ErrClosed) {
		t.Errorf("write: %v", err)
	}
}
