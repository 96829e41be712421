package safetext

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// cases are strings and their two forms; an empty stream form means the same as on one line.
var cases = []struct{ in, line, stream string }{
	{"", "", ""},
	{"plain ~ text", "plain ~ text", ""},
	{"grüße 日本 ½ €", "grüße 日本 ½ €", ""},
	{"a\u00a0b\u3000c", "a\u00a0b\u3000c", ""}, // spaces that show as such
	{"a\nb\tc\\d", `a\nb\tc\\d`, "a\nb\tc\\d"},
	{"over\rwritten", `over\rwritten`, ""},
	{"\x1b[2J\x07\x00\x7f", `\x1b[2J\x07\x00\x7f`, ""},
	{"\x9b31m", `\x9b31m`, ""},                 // CSI as one raw byte
	{"\u009b31m\u0085", `\u{9b}31m\u{85}`, ""}, // and in UTF-8
	{"\xff\xfe\xc0\xaf", `\xff\xfe\xc0\xaf`, ""},
	{"\xed\xa0\x80", `\xed\xa0\x80`, ""}, // a surrogate
	{"cut \xe2\x82", `cut \xe2\x82`, ""},
	{"cut \xf0\x9f\x98!", `cut \xf0\x9f\x98!`, ""},
	{"\ufffd", "\ufffd", ""}, // the character itself, well formed
	{"ab\u202ecd\u202c", `ab\u{202e}cd\u{202c}`, ""},
	{"\u2066\u2069\u200e\u200f\u061c", `\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}`, ""},
	{"a\u200bb\ufeffc\u00add\u2060", `a\u{200b}b\u{feff}c\u{ad}d\u{2060}`, ""},
	{"\u2028\u2029", `\u{2028}\u{2029}`, ""},
	{"\U000e0041\U000e0100\ufe0f\u115f\u3164\u034f", `\u{e0041}\u{e0100}\u{fe0f}\u{115f}\u{3164}\u{34f}`, ""},
	{"\ue000\U0010ffff", `\u{e000}\u{10ffff}`, ""},
	{`\x1b`, `\\x1b`, `\x1b`}, // typed by the peer, not an escape of ours
}

func TestForms(t *testing.T) {
	for _, c := range cases {
		if got := String(c.in); got != c.line {
			t.Errorf("String(%q) = %q, want %q", c.in, got, c.line)
		}
		want := c.stream
		if want == "" {
			want = c.line
		}
		if got := throughWriter(t, []byte(c.in), len(c.in)+1); got != want {
			t.Errorf("Writer of %q: %q, want %q", c.in, got, want)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	if got := string(Append([]byte("peer says "), []byte("a\x1bb"))); got != `peer says a\x1bb` {
		t.Errorf("got %q", got)
	}
}

// Every character there is, alone: what is dangerous is escaped, what shows is not.
func TestEveryCharacter(t *testing.T) {
	for r := range unicode.MaxRune + 1 {
		if !utf8.ValidRune(r) {
			continue
		}
		in := string(r)
		out := String(in)
		switch {
		case dangerous(r) && (out == in || strings.ContainsFunc(out, notASCII)):
			t.Errorf("%U comes out as %q", r, out)
		case unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) && !ignorable(r) && r != '\\' && out != in:
			t.Errorf("%U is changed to %q", r, out)
		}
	}
}

func TestNothingToEscapeAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { String("SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13") }); n != 0 {
		t.Errorf("String allocates %v times", n)
	}
	dst, src := make([]byte, 0, 64), []byte("a\x1b[0m\u202e\xff")
	if n := testing.AllocsPerRun(100, func() { Append(dst, src) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
}

func TestOneLineReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkLine(t, drawBytes(t)) })
}

func FuzzString(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, src []byte) { checkLine(t, src) })
}

// checkLine holds the one-line form of src to its promises.
func checkLine(t interface{ Fatalf(string, ...any) }, src []byte) {
	out := String(string(src))
	if !utf8.ValidString(out) {
		t.Fatalf("%q: %q is not valid UTF-8", src, out)
	}
	if i := strings.IndexFunc(out, dangerous); i >= 0 {
		t.Fatalf("%q: %q is dangerous at %d", src, out, i)
	}
	if appended := string(Append(nil, src)); appended != out {
		t.Fatalf("%q: String gives %q, Append %q", src, out, appended)
	}
	back, err := readBack(out)
	if err != nil || !bytes.Equal(back, src) {
		t.Fatalf("%q: %q reads back as %q (%v)", src, out, back, err)
	}
}

// readBack undoes the one-line form.
func readBack(line string) ([]byte, error) {
	var b []byte
	for line != "" {
		text, rest, found := strings.Cut(line, `\`)
		b = append(b, text...)
		if !found {
			break
		}
		if rest == "" {
			return b, fmt.Errorf("a backslash at the end")
		}
		kind, after := rest[0], rest[1:]
		switch at := strings.IndexByte("nrt\\", kind); {
		case at >= 0:
			b = append(b, "\n\r\t\\"[at])
		case kind == 'x' && len(after) >= 2:
			c, err := strconv.ParseUint(after[:2], 16, 8)
			if err != nil {
				return b, err
			}
			b, after = append(b, byte(c)), after[2:]
		case kind == 'u':
			digits, tail, ok := strings.Cut(strings.TrimPrefix(after, "{"), "}")
			r, err := strconv.ParseUint(digits, 16, 21)
			if !ok || err != nil {
				return b, fmt.Errorf("%q: %v", rest, err)
			}
			b, after = utf8.AppendRune(b, rune(r)), tail
		default:
			return b, fmt.Errorf("unknown escape %q", rest)
		}
		line = after
	}
	return b, nil
}

// dangerous says, in other words than the package's, what must never come out.
func dangerous(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || unicode.In(r, unicode.Cf, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp) || ignorable(r)
}

func ignorable(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func notASCII(r rune) bool { return r >= utf8.RuneSelf }

// drawBytes draws what strangers send: text, escapes, broken and cut characters.
func drawBytes(t *rapid.T) []byte {
	parts := rapid.SliceOf(rapid.OneOf(
		rapid.SliceOf(rapid.Byte()),
		rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }),
		rapid.SampledFrom([][]byte{
			[]byte("\x1b[31m"), []byte("\u202e"), []byte("\r\n"), []byte(`\n`), {0xe2}, {0x82}, {0xac}, {0xf0, 0x9f}, {0x98, 0x80}, {0xc2}, {0x9b},
		}),
	)).Draw(t, "parts")
	return slices.Concat(parts...)
}

func BenchmarkAppend(b *testing.B) {
	for name, src := range benchInputs() {
		b.Run(name, func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				dst = Append(dst[:0], src)
			}
		})
	}
}

func benchInputs() map[string][]byte {
	binary := make([]byte, 4096)
	for i := range binary {
		binary[i] = byte(i * 167)
	}
	return map[string][]byte{
		"ascii":  bytes.Repeat([]byte("GET / HTTP/1.1 "), 273),
		"utf8":   bytes.Repeat([]byte("grüße 日本 "), 256),
		"binary": binary,
	}
}
