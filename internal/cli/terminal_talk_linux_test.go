package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/talk"
)

func TestTalkDoesCommands(t *testing.T) {
	addr, accept := peer(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("in\x00file"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := onPty(t, "talk", addr)
	conn := accept()
	in := bufio.NewReader(conn)
	wantHeard := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
			t.Errorf("the peer got %q, %v, want %q", got, err, want)
		}
	}
	p.await("/help tells more")
	p.keys("/help\r")
	p.await(`\* /send TEXT  send TEXT without a line feed`)
	p.keys(`/send \x00\xff` + "\r")
	wantHeard("\x00\xff")
	p.keys("/file " + file + "\r")
	wantHeard("in\x00file")
	p.await(`\* sent 7 bytes of `)
	p.keys("/file /dev/zero\r")
	p.await(`\* nothing was sent: /dev/zero is no plain file`)
	p.keys("/file " + filepath.Dir(file) + "\r")
	p.await(`\* nothing was sent: \S+ is a directory`)
	p.keys("/file " + file + "x\r")
	p.await(`\* nothing was sent: \S+ does not exist`)
	p.keys("//slash\r")
	wantHeard("/slash\n")
	p.keys("/crlf\rline\r")
	wantHeard("line\r\n")
	p.keys("/hxe\r")
	p.await(`\* /hxe is no command, and was not sent; did you mean /hex\?`)
	_, _ = conn.Write([]byte("as text\n"))
	p.await("< as text\r\n")
	p.keys("/hex\r")
	p.await(`\* what comes is shown in hexadecimal`)
	_, _ = conn.Write([]byte("hi\n"))
	p.await(`< 00000008  68 69 0a +\|hi.\|\r\n`)
	p.keys("/stats\r")
	p.await(`\* sent 22 bytes in 2 lines, received 11 bytes in 2 lines in `)
	p.keys("/quit\r")
	p.await(`sonde: we closed`)
	p.wantExit(0)
	if strings.Contains(p.shown(), "\r\n\r\nsonde: we closed") {
		t.Errorf("an empty line before the end: %q", p.shown())
	}
}

// Nobody means a command by what is pasted: it is sent as it is, whether over a stream or as datagrams. Typed again, it is one.
func TestTalkSendsWhatIsPastedAsItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("the secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	pasted := "/file " + file + "\nexit\n/quit\n//two\n/hxe\nplain\n"
	paste := "\x1b[200~" + strings.ReplaceAll(pasted, "\n", "\r") + "\x1b[201~"
	addr, accept := peer(t)
	p := onPty(t, "talk", addr)
	conn := accept()
	p.await("> ")
	p.keys(paste + "//typed\r/quit\r")
	all, err := io.ReadAll(conn)
	if want := pasted + "/typed\n"; err != nil || string(all) != want {
		t.Errorf("the peer got %q, %v, want %q", all, err, want)
	}
	_ = conn.Close()
	p.wantExit(0)

	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	_ = udp.SetReadDeadline(time.Now().Add(waitLimit))
	p = onPty(t, "talk", "--udp", udp.LocalAddr().String())
	p.await("> ")
	p.keys(paste)
	for line := range strings.Lines(pasted) {
		got := make([]byte, 999)
		n, _, err := udp.ReadFrom(got)
		if err != nil || string(got[:n]) != line {
			t.Errorf("the peer got %q, %v, want %q", got[:n], err, line)
		}
	}
	p.keys("exit\r")
	p.wantExit(0)
}

// What was typed can be had again in the next session; what came cannot.
func TestTalkRemembersWhatWasTyped(t *testing.T) {
	state := t.TempDir()
	session := func(keys string, args ...string) (heard string) {
		addr, accept := peer(t)
		p := newPty(t)
		p.state = state
		p.start(nil, append([]string{"talk", addr}, args...)...)
		conn := accept()
		p.await("> ")
		_, _ = conn.Write([]byte("from the peer\n"))
		p.await("< from the peer")
		p.keys(keys + "exit\r")
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		p.wantExit(0)
		return string(all)
	}
	const up = "\x1b[A"
	session("typed before\r secret\r/stats\r")
	// "/stats" is the latest; the line with a space is not there, nor what ended the session.
	if got := session(up + up + "\r"); got != "typed before\n" {
		t.Errorf("the peer got %q", got)
	}
	if got := session(up+"!\rforgotten\r", "--no-history"); got != "!\nforgotten\n" {
		t.Errorf("without a history the peer got %q", got)
	}
	text, err := os.ReadFile(filepath.Join(state, "sonde", "history"))
	if want := "typed before\n/stats\ntyped before\n"; err != nil || string(text) != want {
		t.Errorf("%v; the history %s", err, cmp.Diff(want, string(text)))
	}
}

func TestTalkGoesOnWithoutAHistory(t *testing.T) {
	addr, accept := peer(t)
	p := newPty(t)
	if err := os.WriteFile(filepath.Join(p.state, "sonde"), nil, 0o600); err != nil { // where its directory should be
		t.Fatal(err)
	}
	p.start(nil, "talk", addr)
	conn := accept()
	p.await(`\* what is typed is not remembered: \S+: not a directory`)
	p.keys("hello\r")
	got := make([]byte, 6)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello\n" {
		t.Errorf("the peer got %q, %v", got, err)
	}
	p.keys("\x04")
	p.wantExit(0)
}

// Every byte there is, and the characters that a terminal obeys though they are none of ASCII, on a real terminal.
func TestTalkShowsNothingThatTheTerminalObeys(t *testing.T) {
	var evil []byte
	for b := range 256 {
		evil = append(evil, byte(b), '.')
	}
	for r := rune(0x80); r < 0xa0; r++ {
		evil = append(evil, string(r)...)
	}
	evil = append(evil, "\u202e\u2066\u200b\u2028\ufeff\xed\xa0\x80\xf0\x9f\x98"...)
	for _, args := range [][]string{nil, {"--hex"}} {
		addr, accept := peer(t)
		p := onPty(t, append([]string{"talk", addr}, args...)...)
		conn := accept()
		p.await("> ")
		p.keys("half")
		p.await("half$")
		before := len(p.shown())
		_, _ = conn.Write(evil)
		_, _ = conn.Write([]byte("\nthe end\n"))
		p.await(`the end[^<]*> half$`)
		// The editor's own are to move the cursor and to erase (ECMA-48: CUU, CUD, CUF, CUB, ED, EL).
		rest := regexp.MustCompile("\x1b\\[[0-9]*[ABCDJK]|\r\n").ReplaceAllString(p.shown()[before:], "")
		if i := strings.IndexFunc(rest, func(r rune) bool {
			return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || strings.ContainsRune("\u202e\u2066\u200b\u2028\ufeff\ufffd", r)
		}); i >= 0 {
			t.Errorf("%q reached the terminal, at %d of %q", rest[i], i, rest)
		}
		p.keys("\x15exit\r") // Ctrl-U: the half line is not to be sent
		p.wantExit(0)
	}
}

// A panic in a conversation still gives the terminal back.
func TestTerminalIsRestoredAfterAPanic(t *testing.T) {
	p := newPty(t)
	defer p.master.Close()
	defer p.slave.Close()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() { _, _ = theirs.Write([]byte("x")) }()
	func() {
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, "printer jam") {
				t.Errorf("recovered %s", got)
			}
		}()
		terminal, err := openTerminal(p.slave, p.slave, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer terminal.restore()
		if !p.isRaw() {
			t.Error("the terminal is not raw")
		}
		talk.Conversation{Interactive: true}.Stream(context.Background(), ours, terminal, jam{})
	}()
	if diff := cmp.Diff(p.before, p.termios()); diff != "" {
		t.Errorf("the terminal is not restored: %s", diff)
	}
}

// One in a goroutine of the terminal's own ends the program, and gives it back before.
func TestTerminalGoroutinesGiveItBack(t *testing.T) {
	p := newPty(t)
	defer p.master.Close()
	defer p.slave.Close()
	terminal, err := openTerminal(p.slave, p.slave, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.restore()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		defer terminal.giveBack()
		panic("key jam")
	}()
	if diff := cmp.Diff(p.before, p.termios()); diff != "" {
		t.Errorf("the terminal is not restored: %s", diff)
	}
}

type jam struct{}

func (jam) Print(talk.Reply) (bool, error) { panic(errors.New("printer jam")) }
func (jam) Flush() error                   { return nil }
