package talk

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 345e6, time.UTC)

func reply(data string, after time.Duration) Reply {
	return Reply{Data: []byte(data), Time: noon, After: after}
}

func TestChat(t *testing.T) {
	const stamp = "12:00:00.345    +0.8ms "
	for _, c := range []struct {
		name      string
		form      Form
		datagrams bool
		reply     Reply
		want      string
	}{
		{"line", Safe, false, reply("hello\n", 800*time.Microsecond), stamp + "< hello\n"},
		{"nothing sent", Safe, false, reply("220 ready\n", -1), "12:00:00.345           < 220 ready\n"},
		{"long after", Safe, false, reply("x", 90*time.Second), "12:00:00.345    +90.0s < x\n"},
		{"lines", Safe, false, reply("a\nb", 800*time.Microsecond), stamp + "< a\n" + stamp + "< b\n"},
		{"escapes", Safe, false, reply("\x1b[2J\x07\u202e\xff", 800*time.Microsecond), stamp + `< \x1b[2J\x07\u{202e}\xff` + "\n"},
		{"no forged line", Safe, false, reply("a\r* b", 800*time.Microsecond), stamp + `< a\r* b` + "\n"},
		{"raw", Raw, false, reply("\x1b[2J\n", 800*time.Microsecond), stamp + "< \x1b[2J\n"},
		{"hex", Hex, false, reply("hi\n", 800*time.Microsecond), stamp + "< 00000000  68 69 0a                                          |hi.|\n"},
		{"empty datagram", Safe, true, reply("", 800*time.Microsecond), stamp + "* an empty datagram\n"},
		{"split in a datagram", Safe, true, reply("caf\xc3", 800*time.Microsecond), stamp + `< caf\xc3` + "\n"},
		{"truncated", Safe, true, Reply{Data: []byte("x"), Time: noon, After: 8e5, Truncated: true}, stamp + "< x\n" + stamp + "* the datagram was longer: its end is lost\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			chat := NewChat(&out, c.form, c.datagrams)
			if held, err := chat.Print(c.reply); held || err != nil {
				t.Error(held, err)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChatHoldsASplitCharacter(t *testing.T) {
	var out bytes.Buffer
	chat := NewChat(&out, Safe, false)
	if held, _ := chat.Print(reply("caf\xc3", -1)); !held {
		t.Error("not held")
	}
	if held, _ := chat.Print(reply("\xa9\n\xe2\x82", -1)); !held {
		t.Error("not held")
	}
	if err := chat.Flush(); err != nil {
		t.Error(err)
	}
	const stamp = "12:00:00.345           < "
	if diff := cmp.Diff(stamp+"caf\n"+stamp+"é\n"+stamp+`\xe2\x82`+"\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestDumpOffsets(t *testing.T) {
	for _, c := range []struct {
		datagrams bool
		want      []string
	}{
		{false, []string{"00000000", "00000010", "00000011", "00000011"}},
		{true, []string{"00000000", "00000010", "00000000", "00000000"}},
	} {
		var out bytes.Buffer
		d := &Dump{W: &out, Datagrams: c.datagrams}
		for _, data := range []string{strings.Repeat("x", 17), "", "y"} {
			if _, err := d.Print(reply(data, -1)); err != nil {
				t.Error(err)
			}
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, line[:8])
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzDump reads a dump back.
func FuzzDump(f *testing.F) {
	f.Add([]byte("hello, world\nand more"), int64(0))
	f.Add([]byte{}, int64(1))
	f.Add([]byte{0, 0x7f, 0x80, 0xff, '|'}, int64(1)<<40)
	f.Fuzz(func(t *testing.T, data []byte, offset int64) {
		if offset < 0 {
			return
		}
		var back []byte
		for line := range strings.Lines(string(AppendDump(nil, offset, data))) {
			if strings.IndexFunc(line, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) >= 0 {
				t.Fatalf("%q is not safe to print", line)
			}
			_, rest, ok := strings.Cut(line, "  ")
			if !ok {
				continue
			}
			digits, _, _ := strings.Cut(rest, "|")
			row, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			back = append(back, row...)
		}
		if !bytes.Equal(back, data) {
			t.Errorf("%x came back as %x", data, back)
		}
	})
}

// FuzzChat says anything in any pieces, with the form turned over in between: what a person sees is whole lines, each behind its time,
// and nothing that a terminal obeys.
func FuzzChat(f *testing.F) {
	f.Add([]byte("hello\nworld"), uint8(3), false)
	f.Add([]byte("\x1b[2J\xe2\x82\xac\u202e\x9b\xf0\x9f"), uint8(1), true)
	f.Fuzz(func(t *testing.T, data []byte, size uint8, datagrams bool) {
		var out bytes.Buffer
		chat := NewChat(&out, Safe, datagrams)
		for i := 0; len(data) > 0; i++ {
			n := min(len(data), int(size%7)+1)
			if held, err := chat.Print(reply(string(data[:n]), -1)); err != nil || held && datagrams {
				t.Fatal(held, err)
			}
			if data = data[n:]; i%5 == 4 {
				chat.ToggleHex()
			}
		}
		if err := chat.Flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			text, ok := strings.CutPrefix(line, "12:00:00.345           < ")
			if !ok || !strings.HasSuffix(text, "\n") || !utf8.ValidString(text) {
				t.Fatalf("%q", line)
			}
			if i := strings.IndexFunc(strings.TrimSuffix(text, "\n"), func(r rune) bool { return r != '\t' && !strconv.IsGraphic(r) }); i >= 0 {
				t.Fatalf("%q is obeyed at %d", text, i)
			}
		}
	})
}
