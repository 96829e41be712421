package talk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonde/internal/sock"
)

// first takes the first that begins alike for the nearest.
func first(word string, known []string) (string, bool) {
	for _, k := range known {
		if strings.HasPrefix(k, word[:min(2, len(word))]) && len(word) > 1 {
			return k, true
		}
	}
	return "", false
}

func TestParseCommand(t *testing.T) {
	for _, c := range []struct {
		line string
		verb verb
		want string // the data or the text
	}{
		{"hello", sendLine, "hello"},
		{"", sendLine, ""},
		{" /quit", sendLine, " /quit"},
		{"//etc", sendLine, "/etc"},
		{"//", sendLine, "/"},
		{"///", sendLine, "//"},
		{"/hex", turnHex, ""},
		{"/hex ", turnHex, ""},
		{"/crlf", turnCRLF, ""},
		{"/stats", showStats, ""},
		{"/help", showHelp, ""},
		{"/quit", quit, ""},
		{"/quit now", mistake, "/quit takes no more words: nothing was done"},
		{`/send \x00\xFf\n\r\t\0\\`, sendBytes, "\x00\xff\n\r\t\x00\\"},
		{"/send  two spaces ", sendBytes, " two spaces "},
		{"/send", sendBytes, ""},
		{`/send grüße €`, sendBytes, "grüße €"},
		{`/send a\`, mistake, `nothing was sent: a backslash at the end; one that is to be sent is written \\`},
		{`/send \q`, mistake, `nothing was sent: \q is no escape: \xNN \n \r \t \0 \\ are`},
		{`/send \é`, mistake, `nothing was sent: \é is no escape: \xNN \n \r \t \0 \\ are`},
		{`/send \x`, mistake, `nothing was sent: \x wants two hexadecimal digits, as \xff`},
		{`/send \xf`, mistake, `nothing was sent: \x wants two hexadecimal digits, as \xff`},
		{`/send \xg0`, mistake, `nothing was sent: \x wants two hexadecimal digits, as \xff`},
		{"/file a b.txt ", sendFile, "a b.txt"},
		{"/file", mistake, "nothing was sent: name a file: /file PATH"},
		{"/file  ", mistake, "nothing was sent: name a file: /file PATH"},
		{"/hxe", mistake, "/hxe is no command, and was not sent; did you mean /hex? /help tells them all; // at the beginning of a line sends one slash"},
		{"/", mistake, "/ is no command, and was not sent; /help tells them all; // at the beginning of a line sends one slash"},
		{"/HEX", mistake, "/HEX is no command, and was not sent; /help tells them all; // at the beginning of a line sends one slash"},
	} {
		got := parseCommand(c.line, first)
		if text := got.text + string(got.data); got.verb != c.verb || text != c.want {
			t.Errorf("%q: %d %q, want %d %q", c.line, got.verb, text, c.verb, c.want)
		}
	}
}

// escape writes data as /send takes it, in one of the ways that there are for each byte.
func escape(data []byte, choose func(n int) int) string {
	var b strings.Builder
	short := map[byte]string{'\n': `\n`, '\r': `\r`, '\t': `\t`, 0: `\0`, '\\': `\\`}
	const lower, upper = "0123456789abcdef", "0123456789ABCDEF"
	for _, c := range data {
		s, hasShort := short[c]
		switch way := choose(3); {
		case way == 0 && hasShort:
			b.WriteString(s)
		case way == 1 && c > ' ' && c < 0x7f && c != '\\':
			b.WriteByte(c)
		default:
			digits := []string{lower, upper}[choose(2)]
			b.WriteString(`\x` + string(digits[c>>4]) + string(digits[c&15]))
		}
	}
	return b.String()
}

// Every byte can be sent, however it is written.
func TestSendReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		line := "/send " + escape(data, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "way") })
		if got := parseCommand(line, nil); got.verb != sendBytes || !bytes.Equal(got.data, data) {
			t.Fatalf("%q: %d %q, want %q", line, got.verb, got.data, data)
		}
	})
}

// FuzzCommand holds the parser to what a person relies on: nothing that begins with one slash is sent as a line, and a
// line without one is sent as it is.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{"hello", "//x", `/send \x00\xff\n`, `/send \`, "/file x", "/file", "/hex", "/hxe", "/quit", "/", "/send \xff\\xzz", "/stats ", "/\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if sent := parseCommand(Literal(line), first); sent.verb != sendLine || sent.text != line {
			t.Fatalf("%q, to be sent as it is: %+v", line, sent)
		}
		got := parseCommand(line, first)
		switch {
		case strings.HasPrefix(line, "//"):
			if got.verb != sendLine || got.text != line[1:] {
				t.Fatalf("%q: %+v", line, got)
			}
		case strings.HasPrefix(line, "/"):
			if got.verb == sendLine {
				t.Fatalf("%q is sent", line)
			}
		case got.verb != sendLine || got.text != line:
			t.Fatalf("%q: %+v", line, got)
		}
		if got.verb == mistake && got.text == "" || got.verb == sendFile && got.text == "" || got.verb != sendBytes && len(got.data) > 0 {
			t.Fatalf("%q: %+v", line, got)
		}
		if got.verb == sendBytes {
			again := parseCommand("/send "+escape(got.data, func(int) int { return 0 }), nil)
			if !bytes.Equal(again.data, got.data) {
				t.Fatalf("%q: %q does not read back", line, got.data)
			}
		}
	})
}

// person is a session's Commands with what they say kept, and files of the names in files.
func person(chat *Chat, files map[string]string) (c *Commands, said *buffer) {
	said = &buffer{}
	return &Commands{
		Say:  func(text string) { _, _ = said.Write([]byte(text + "\n")) },
		Chat: chat,
		Open: func(path string) (io.ReadCloser, error) {
			text, ok := files[path]
			if !ok {
				return nil, errors.New(path + " does not exist")
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
		Nearest: first,
	}, said
}

func TestStreamDoesCommands(t *testing.T) {
	ours, peer := tcpPair(t)
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(peer)
		_ = peer.Close()
		got <- string(all)
	}()
	big := strings.Repeat("0123456789", 20_000)
	commands, said := person(NewChat(io.Discard, Safe, false), map[string]string{"big": big, "none": ""})
	in := input("one\n/send two\\n\n/crlf\nthree\n//four\n/crlf\nfive\n/file big\n/file none\n/file lost\n/send\n/hxe\n/stats\n/quit\nsix\n")
	s := Conversation{Commands: commands, Interactive: true}.Stream(context.Background(), ours, in, Exact{io.Discard})
	if want := "one\ntwo\nthree\r\n/four\r\nfive\n" + big; <-got != want || s.Ending != sock.ByUs || s.Sent.Bytes != int64(len(want)) {
		t.Errorf("%v; sent something else", s)
	}
	want := "lines sent end in CR LF\nlines sent end in LF\nsent 200000 bytes of big\nsent 0 bytes of none\nnothing was sent: lost does not exist\n" +
		"nothing was sent: /send TEXT, as /send hello\\n\n/hxe is no command, and was not sent; did you mean /hex? "
	if !strings.HasPrefix(said.String(), want) {
		t.Errorf("said %s", cmp.Diff(want, said.String()))
	}
	wantContains(t, said.String(), "sent 200027 bytes in 6 lines, received 0 bytes in 0 lines in ")
}

func TestDatagramsDoCommands(t *testing.T) {
	ours, peer := udpPeer(t)
	answer(t, peer, same)
	commands, said := person(NewChat(io.Discard, Safe, true),
		map[string]string{"two lines": "a\nb\n", "big": strings.Repeat("x", maxPayload+1), "fits": strings.Repeat("x", maxPayload)})
	in, typist := io.Pipe()
	out := &heard{more: make(chan string, 9)}
	done := make(chan Summary)
	go func() {
		done <- Conversation{Commands: commands, Interactive: true}.Datagrams(context.Background(), ours, in, out)
	}()
	for _, c := range []struct{ line, want string }{
		{"one", "one\n"},
		{`/send \x00\n\xff`, "\x00\n\xff"},
		{"/send", ""},
		{"/file two lines", "a\nb\n"},
		{"/file big\n/file lost\n/file fits", strings.Repeat("x", maxPayload)},
	} {
		_, _ = io.WriteString(typist, c.line+"\n")
		if got := <-out.more; got != c.want {
			t.Errorf("%s: a datagram of %d bytes", c.line, len(got))
		}
	}
	_, _ = io.WriteString(typist, "/quit\n")
	if s := <-done; s.Sent.Messages != 5 || s.Sent.Empty != 1 {
		t.Error(s)
	}
	want := "nothing was sent: big does not fit one datagram, which takes 65507 bytes\nnothing was sent: lost does not exist\n"
	if diff := cmp.Diff(want, said.String()); diff != "" {
		t.Error(diff)
	}
}

// heard is a Printer that passes on each reply.
type heard struct{ more chan string }

func (h *heard) Print(r Reply) (bool, error) { h.more <- string(r.Data); return false, nil }
func (*heard) Flush() error                  { return nil }

// In a pipe nothing is a command.
func TestWithoutCommandsEveryLineIsSent(t *testing.T) {
	const text = "/quit\n//x\n/send \\x00\n"
	ours, peer := tcpPair(t)
	echo(t, peer)
	var out bytes.Buffer
	Conversation{}.Stream(context.Background(), ours, input(text), Exact{&out})
	if out.String() != text {
		t.Errorf("%q became %q", text, out.String())
	}
}

// A file that is on its way when the conversation ends is closed.
func TestFileIsClosedWhenThePeerGoes(t *testing.T) {
	ours, peer := tcpPair(t)
	commands, _ := person(nil, nil)
	f := &endless{closed: make(chan struct{})}
	commands.Open = func(string) (io.ReadCloser, error) { return f, nil }
	go func() {
		_, _ = io.ReadFull(peer, make([]byte, 1))
		_ = peer.SetLinger(0)
		_ = peer.Close()
	}()
	s := Conversation{Commands: commands, Interactive: true}.Stream(context.Background(), ours, input("/file f\n"), Exact{io.Discard})
	if s.Ending != sock.Reset {
		t.Error(s)
	}
	<-f.closed
}

type endless struct{ closed chan struct{} }

func (*endless) Read(p []byte) (int, error) { return len(p), nil }
func (e *endless) Close() error             { close(e.closed); return nil }

// /hex turns what comes over, in mid-character too, and the offsets are those of the stream.
func TestChatTogglesHex(t *testing.T) {
	var out bytes.Buffer
	chat := NewChat(&out, Safe, false)
	print := func(data string) {
		t.Helper()
		if _, err := chat.Print(reply(data, -1)); err != nil {
			t.Error(err)
		}
	}
	print("abc\xc3")
	if !chat.ToggleHex() {
		t.Error("not on")
	}
	print("\xa9")
	if chat.ToggleHex() {
		t.Error("not off")
	}
	print("é\n")
	const stamp = "12:00:00.345           < "
	want := stamp + "abc\n" + stamp + "\\xc3\n" + stamp + "00000004  a9                                                |.|\n" + stamp + "é\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
