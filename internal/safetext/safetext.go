// Package safetext makes bytes from strangers safe for a terminal or a log.
//
// What could move the cursor, change the terminal's state, forge a line, turn text round
// or hide it is replaced by an escape of printable ASCII; everything else is kept. The
// output is always valid UTF-8. There are two forms:
//
//   - One line (String, Append), for tables, logs, names and banners. Nothing ends the line,
//     and a backslash is doubled, so that the output says exactly which bytes came.
//   - A stream (Writer), for a conversation on a terminal. Line feeds and tabs pass, and so
//     does a backslash, because text full of doubled ones is hard to read: a peer can therefore
//     type what looks like an escape, but an escape does nothing.
//
// The escapes, all hexadecimal digits in lower case:
//
//	\n \r \t   line feed, carriage return, tab
//	\\         backslash (one line only)
//	\x1b       another control character of ASCII
//	\xff       a byte that is not part of valid UTF-8
//	\u{202e}   a character that does not show: see forbidden
package safetext

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A form is one of the two ways of writing.
type form uint8

const (
	oneLine form = iota
	stream
)

// String returns s in the one-line form. A string that is safe already is returned as it is.
func String(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, escapedInLine) {
		return s
	}
	return string(Append(nil, []byte(s)))
}

// Append appends src in the one-line form to dst. The two must not overlap.
func Append(dst, src []byte) []byte {
	dst, rest := appendSafe(dst, src, oneLine)
	return appendBytes(dst, rest)
}

func escapedInLine(r rune) bool {
	return r == '\\' || r < utf8.RuneSelf && !plain(byte(r), oneLine) || r >= utf8.RuneSelf && forbidden(r)
}

// appendSafe appends src to dst, and returns what is left of src: nothing, or the first
// bytes of a character whose others have not come yet.
func appendSafe(dst, src []byte, f form) (safe, rest []byte) {
	for len(src) > 0 {
		n := plainPrefix(src, f)
		dst, src = append(dst, src[:n]...), src[n:]
		if len(src) == 0 {
			break
		}
		if src[0] < utf8.RuneSelf {
			dst, src = appendASCII(dst, src[0]), src[1:]
			continue
		}
		r, size := utf8.DecodeRune(src)
		switch {
		case r == utf8.RuneError && size == 1 && !utf8.FullRune(src):
			return dst, src
		case r == utf8.RuneError && size == 1:
			dst = appendBytes(dst, src[:1])
		case forbidden(r):
			dst = appendRune(dst, r)
		default:
			dst = append(dst, src[:size]...)
		}
		src = src[size:]
	}
	return dst, nil
}

// plainPrefix returns how many bytes at the beginning of src are ASCII that needs no escape.
func plainPrefix(src []byte, f form) int {
	for i, c := range src {
		if !plain(c, f) {
			return i
		}
	}
	return len(src)
}

func plain(c byte, f form) bool {
	switch c {
	case '\n', '\t', '\\':
		return f == stream
	}
	return ' ' <= c && c <= '~'
}

// forbidden reports whether r, beyond ASCII, is escaped. What shows is kept: letters,
// marks, numbers, punctuation, symbols and spaces. That leaves out C1 controls, the line and
// paragraph separators, private and unassigned characters, and all format characters (Cf): the
// bidirectional controls of Trojan Source (CVE-2021-42574), zero-width characters, tags.
// Left out as well are marks and letters that are there not to be seen (Unicode's
// Default_Ignorable_Code_Point), such as variation selectors and Hangul fillers. So an emoji
// that is joined from several shows its joints; in return, columns and widths hold.
func forbidden(r rune) bool {
	return !strconv.IsGraphic(r) ||
		unicode.Is(unicode.Variation_Selector, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

const hexDigits = "0123456789abcdef"

func appendASCII(dst []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '\\':
		return append(dst, `\\`...)
	}
	return appendBytes(dst, []byte{c})
}

// appendBytes appends each byte of src as \xNN.
func appendBytes(dst, src []byte) []byte {
	for _, c := range src {
		dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&0xf])
	}
	return dst
}

func appendRune(dst []byte, r rune) []byte {
	dst = append(dst, `\u{`...)
	dst = strconv.AppendInt(dst, int64(r), 16)
	return append(dst, '}')
}
