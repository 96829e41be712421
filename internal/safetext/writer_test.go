package safetext

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// throughWriter returns what a Writer makes of src in writes of at most chunk bytes.
func throughWriter(t interface{ Fatalf(string, ...any) }, src []byte, chunk int) string {
	return inChunks(t, src, func() int { return chunk })
}

func inChunks(t interface{ Fatalf(string, ...any) }, src []byte, chunk func() int) string {
	var out bytes.Buffer
	w := NewWriter(&out)
	for len(src) > 0 {
		n := min(chunk(), len(src))
		if wrote, err := w.Write(src[:n]); wrote != n || err != nil {
			t.Fatalf("Write of %d bytes: %d, %v", n, wrote, err)
		}
		if held := w.Held(); held > 3 || held > 0 && src[n-1] < utf8.RuneSelf {
			t.Fatalf("%d bytes held after %q", held, src[:n])
		}
		src = src[n:]
	}
	if err := w.Flush(); err != nil || w.Held() != 0 {
		t.Fatalf("Flush: %v, %d bytes held", err, w.Held())
	}
	return out.String()
}

// checkStream holds the stream form of src, cut into chunks, to its promises.
func checkStream(t interface{ Fatalf(string, ...any) }, src []byte, chunk func() int) {
	whole := throughWriter(t, src, len(src)+1)
	if cut := inChunks(t, src, chunk); cut != whole {
		t.Fatalf("%q: whole %q, in chunks %q", src, whole, cut)
	}
	if bytewise := throughWriter(t, src, 1); bytewise != whole {
		t.Fatalf("%q: whole %q, byte by byte %q", src, whole, bytewise)
	}
	if !utf8.ValidString(whole) {
		t.Fatalf("%q: %q is not valid UTF-8", src, whole)
	}
	if i := strings.IndexFunc(whole, func(r rune) bool { return dangerous(r) && r != '\n' && r != '\t' }); i >= 0 {
		t.Fatalf("%q: %q is dangerous at %d", src, whole, i)
	}
	if strings.Count(whole, "\n") != bytes.Count(src, []byte("\n")) || strings.Count(whole, "\t") != bytes.Count(src, []byte("\t")) {
		t.Fatalf("%q: %q has other lines or tabs", src, whole)
	}
}

func TestChunksDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 9)
		checkStream(t, drawBytes(t), func() int { return size.Draw(t, "size") })
	})
}

func FuzzWriter(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.in), uint64(1))
	}
	f.Fuzz(func(t *testing.T, src []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		checkStream(t, src, func() int { return 1 + random.IntN(8) })
	})
}

// What is longer than a piece is cut inside Write, characters at the cut included.
func TestLongWrites(t *testing.T) {
	for shift := range 4 {
		src := []byte(strings.Repeat("x", pieceSize-shift) + strings.Repeat("€\x1b\\", 2*pieceSize))
		want := strings.Repeat("x", pieceSize-shift) + strings.Repeat(`€\x1b\`, 2*pieceSize)
		if got := throughWriter(t, src, len(src)); got != want {
			t.Errorf("shift %d: the output differs", shift)
		}
	}
}

func TestSplitCharacter(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	steps := []struct {
		do   func() error
		want string
		held int
	}{
		{send(w, "price: \xe2\x82"), "price: ", 2},
		{send(w, "\xac5"), "€5", 0},
		{send(w, "\xe2\x82"), "", 2},
		{w.Flush, `\xe2\x82`, 0},
		{send(w, "\xac"), `\xac`, 0}, // too late: the timer gave up on the others
		{send(w, "\xf0\x9f\x98"), "", 3},
		{send(w, "ok"), `\xf0\x9f\x98ok`, 0}, // never to be completed
		{send(w, "\xe2"), "", 1},
		{send(w, "\xe2\x82"), `\xe2`, 2},
		{send(w, "\xac\n> "), "€\n> ", 0}, // a prompt comes at once
	}
	for i, step := range steps {
		out.Reset()
		if err := step.do(); err != nil || out.String() != step.want || w.Held() != step.held {
			t.Errorf("step %d: wrote %q, holds %d, %v; want %q and %d", i, out.String(), w.Held(), err, step.want, step.held)
		}
	}
}

func send(w io.Writer, s string) func() error {
	return func() error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func TestEmptyWriteAndFlushWriteNothing(t *testing.T) {
	w := NewWriter(failing{})
	if n, err := w.Write(nil); n != 0 || err != nil {
		t.Errorf("Write(nil) = %d, %v", n, err)
	}
	if err := w.Flush(); err != nil {
		t.Errorf("Flush = %v", err)
	}
	if n, err := w.Write([]byte("\xe2")); n != 1 || err != nil {
		t.Errorf("Write of what is only held = %d, %v", n, err)
	}
}

func TestErrorsAreReturned(t *testing.T) {
	w := NewWriter(failing{})
	if n, err := w.Write([]byte("text")); n != 0 || !errors.Is(err, errGone) {
		t.Errorf("Write = %d, %v", n, err)
	}
	if err := w.Flush(); !errors.Is(err, errGone) {
		t.Errorf("Flush = %v", err)
	}

	w = NewWriter(&room{left: 1})
	if n, err := w.Write(make([]byte, 2*pieceSize)); n != pieceSize || !errors.Is(err, errGone) {
		t.Errorf("Write of two pieces where one has room = %d, %v", n, err)
	}
	if n, err := w.Write([]byte("more")); n != 0 || !errors.Is(err, errGone) {
		t.Errorf("Write after an error = %d, %v", n, err)
	}

	if _, err := NewWriter(short{}).Write([]byte("text")); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a short write is told as %v", err)
	}
}

var errGone = errors.New("terminal gone")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errGone }

// room has room for so many writes.
type room struct{ left int }

func (r *room) Write(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errGone
	}
	r.left--
	return len(p), nil
}

type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) - 1, nil }

func TestWriterAllocatesNothing(t *testing.T) {
	w := NewWriter(io.Discard)
	src := bytes.Repeat([]byte("a\x1b\u202e\xff€\xe2\x82"), 2000)
	if _, err := w.Write(src); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = w.Write(src) }); n != 0 {
		t.Errorf("Write allocates %v times", n)
	}
}

func BenchmarkWriter(b *testing.B) {
	for name, src := range benchInputs() {
		b.Run(name, func(b *testing.B) {
			w := NewWriter(io.Discard)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.Write(src)
			}
		})
	}
}
