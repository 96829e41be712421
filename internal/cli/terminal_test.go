package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// typed is a terminal whose keys are all typed already.
func typed(keys io.Reader, screen io.Writer) *terminal {
	return &terminal{editor: newEditor(keys, screen)}
}

func TestTerminalLines(t *testing.T) {
	for _, c := range []struct{ name, keys, want string }{
		{"enter", "one\rtwo\r", "one\ntwo\n"},
		{"empty line", "\r", "\n"},
		{"editing", "helo\x1b[Dl\r", "hello\n"},
		{"history", "again\r\x1b[A\r", "again\nagain\n"},
		{"exit", "a\rexit\rb\r", "a\n"},
		{"exit within a line", "exit now\r", "exit now\n"},
		{"Ctrl-D", "a\r\x04b\r", "a\n"},
		{"Ctrl-C", "a\rb\x03c\r", "a\n"},
		{"pasted", "\x1b[200~a\rb\r\x1b[201~c\r", "a\nb\nc\n"},
		{"pasted exit", "\x1b[200~exit\r\x1b[201~c\r", "exit\nc\n"},
		{"pasted and ended by hand", "\x1b[200~exit\x1b[201~\rc\r", ""},
		{"beyond ASCII", "wörld €\r", "wörld €\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var screen bytes.Buffer
			got, err := io.ReadAll(typed(strings.NewReader(c.keys), &screen))
			if err != nil || string(got) != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestTerminalLineLongerThanARead(t *testing.T) {
	line := strings.Repeat("long ", 40)
	got, err := io.ReadAll(iotest.OneByteReader(typed(strings.NewReader(line+"\r"), io.Discard)))
	if err != nil || string(got) != line+"\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// What is typed is on the screen after what came meanwhile.
func TestTerminalWriteKeepsTheLineBeingTyped(t *testing.T) {
	keys, keyboard := io.Pipe()
	var screen bytes.Buffer
	term := typed(keys, &screen)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.ReadAll(term)
	}()
	_, _ = keyboard.Write([]byte("hal"))
	_, _ = keyboard.Write([]byte("f")) // taken: what came before it is on the screen
	_, _ = term.Write([]byte("news\n"))
	_ = keyboard.Close()
	<-done
	_, after, ok := strings.Cut(screen.String(), "news\r\n")
	if !ok || !strings.HasPrefix(after, prompt+"hal") {
		t.Errorf("screen %q", screen.String())
	}
}

// Ctrl-C is heard though nobody asks for a key, and Ctrl-Z is no key.
func TestKeyboard(t *testing.T) {
	in, typist := io.Pipe()
	interrupts, suspends := make(chan bool, 9), make(chan bool, 9)
	k := newKeyboard(in, func() { interrupts <- true }, func() { suspends <- true }, func() {})
	_, _ = typist.Write([]byte("a\x1ab"))
	<-suspends
	_, _ = typist.Write([]byte("c\x03"))
	<-interrupts
	got := make([]byte, 4)
	if _, err := io.ReadFull(k, got); err != nil || string(got) != "abc\x03" {
		t.Errorf("%q, %v", got, err)
	}
	_ = k.Close()
	k.join()
	if _, err := k.Read(got); err == nil {
		t.Error("read on after Close")
	}
}

func TestKeyboardForgetsWhatIsTypedTooFarAhead(t *testing.T) {
	k := newKeyboard(io.NopCloser(strings.NewReader(strings.Repeat("x", 2*keyboardLimit))), func() {}, func() {}, func() {})
	k.join()
	if got, err := io.ReadAll(k); err != nil || len(got) != keyboardLimit {
		t.Errorf("%d keys, %v", len(got), err)
	}
}
