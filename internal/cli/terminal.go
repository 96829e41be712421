package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"sonde/internal/talk"
)

// A terminal is a person's: every Read is one line typed at a prompt, with its line
// feed, and every Write is shown above the line being typed. The line "exit" ends it, if it
// was typed and not pasted.
//
// Read belongs to one goroutine; Write, Close and restore may be called from others.
type terminal struct {
	fd     int
	saved  *term.State
	out    io.WriteCloser // the screen
	keys   *keyboard
	editor *term.Terminal
	rest   []byte   // of the line that did not fit the last Read
	past   *history // nil: none but this session's

	commands bool // the reader takes lines for talk.Commands, which a pasted one is never

	stopWatching func()
	mid          bool // the cursor may stand behind a prompt
}

const (
	prompt   = "> "
	lastWord = "exit"
)

// openTerminal takes the terminal over until restore. Ctrl-C calls interrupt, whatever
// else waits.
func openTerminal(in, out *os.File, interrupt func()) (*terminal, error) {
	fd := int(in.Fd())
	saved, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	t := &terminal{fd: fd, saved: saved, out: interruptible(out), mid: true}
	t.keys = newKeyboard(interruptible(in), interrupt, suspend, t.giveBack)
	t.editor = newEditor(t.keys, t.out)
	t.resize()
	t.editor.SetBracketedPasteMode(true)
	t.stopWatching = watch(t)
	return t, nil
}

// newEditor edits the lines that keys type, on the screen out.
func newEditor(keys io.Reader, out io.Writer) *term.Terminal {
	return term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, out}, prompt)
}

// Read returns the line that is typed next, or a part of it that fits.
func (t *terminal) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		t.mid = true
		line, pasted, err := readLine(t.editor)
		if err != nil {
			return 0, err
		}
		t.mid = false // until the next prompt
		switch {
		case pasted && t.commands:
			line = talk.Literal(line)
		case !pasted && line == lastWord:
			return 0, io.EOF
		}
		t.rest = append([]byte(line), '\n')
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// readLine is the editor's, for which a pasted line is no error. A line that was pasted without its end, which a person
// then typed, counts as typed: it was there to be read.
func readLine(editor *term.Terminal) (line string, pasted bool, err error) {
	line, err = editor.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) {
		return line, true, nil
	}
	return line, false, err
}

// eraseBelow erases from the cursor to the end of the screen (ECMA-48, ED).
const eraseBelow = "\x1b[J"

// Write shows p, which ends in a line feed, above the line being typed. The editor itself clears the rows of that line down to the
// cursor only, which may have been moved up into a long one.
func (t *terminal) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := t.editor.Write(append([]byte(eraseBelow), p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// remember has past lines to choose from, and adds those to come to them. The terminal closes it.
func (t *terminal) remember(past *history) {
	t.past = past
	t.editor.History = past
}

// say shows what sonde itself has to say, each line behind a star.
func (t *terminal) say(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(t, "* %s\n", strings.TrimSuffix(line, "\n"))
	}
}

// Close ends a Read that waits. The terminal is still to be restored.
func (t *terminal) Close() error { return t.keys.Close() }

// restore gives the terminal back as it was found.
func (t *terminal) restore() {
	t.stopWatching()
	_ = t.keys.Close()
	t.keys.join()
	if t.past != nil {
		t.past.note = nil // the screen is no longer ours
		t.past.close()
	}
	t.editor.SetBracketedPasteMode(false)
	if t.mid {
		_, _ = io.WriteString(t.out, "\r\n") // fails when the terminal is gone
	}
	_ = t.out.Close()
	_ = term.Restore(t.fd, t.saved) // fails when the terminal is gone, and then nothing needs it
}

// leave gives the terminal back for a while; enter takes it over again, and shows the
// line being typed.
func (t *terminal) leave() { _ = term.Restore(t.fd, t.saved) }

func (t *terminal) enter() {
	if _, err := term.MakeRaw(t.fd); err != nil {
		return // the terminal is gone, which the next Read tells
	}
	t.resize()
	_, _ = t.editor.Write(nil) // fails when the terminal is gone
}

// giveBack is deferred by the goroutines that are the terminal's own: a panic there ends the program before restore is called.
func (t *terminal) giveBack() {
	if p := recover(); p != nil {
		t.leave()
		panic(p)
	}
}

// resize tells the editor how wide the terminal is now.
func (t *terminal) resize() {
	if width, height, err := term.GetSize(t.fd); err == nil && width > 0 {
		_ = t.editor.SetSize(width, height)
	}
}

// The keys that a terminal in raw mode does not act on by itself.
const (
	ctrlC = 0x03
	ctrlZ = 0x1a
)

// keyboardLimit is how much may be typed, or pasted, ahead of a peer that does not read.
const keyboardLimit = 1 << 20

// A keyboard reads what is typed ahead, so that Ctrl-C is heard though nobody asks for
// the next key: the line before may still wait for the peer to take it.
type keyboard struct {
	in                       io.ReadCloser
	interrupt, suspend, last func() // last is deferred
	joined                   chan struct{}

	mu   sync.Mutex
	more *sync.Cond
	keys []byte
	err  error
}

func newKeyboard(in io.ReadCloser, interrupt, suspend, last func()) *keyboard {
	k := &keyboard{in: in, interrupt: interrupt, suspend: suspend, last: last, joined: make(chan struct{})}
	k.more = sync.NewCond(&k.mu)
	go k.watch()
	return k
}

// watch reads keys until the input ends or is closed.
func (k *keyboard) watch() {
	defer close(k.joined)
	defer k.last()
	buf := make([]byte, 4096)
	for {
		n, err := k.in.Read(buf)
		k.took(buf[:n], err)
		if err != nil {
			return
		}
	}
}

func (k *keyboard) took(keys []byte, err error) {
	if bytes.IndexByte(keys, ctrlC) >= 0 {
		k.interrupt()
	}
	if bytes.IndexByte(keys, ctrlZ) >= 0 {
		keys = bytes.ReplaceAll(keys, []byte{ctrlZ}, nil)
		k.suspend()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append(k.keys, keys[:min(len(keys), keyboardLimit-len(k.keys))]...)
	k.err = err
	k.more.Broadcast()
}

// Read returns keys that were typed, and waits for one.
func (k *keyboard) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.keys) == 0 && k.err == nil {
		k.more.Wait()
	}
	if len(k.keys) == 0 {
		return 0, k.err
	}
	n := copy(p, k.keys)
	k.keys = k.keys[n:]
	return n, nil
}

// Close ends a Read that waits, here and below.
func (k *keyboard) Close() error { return k.in.Close() }

// join waits for the keyboard to let go of its input, which Close makes it do.
func (k *keyboard) join() { <-k.joined }
