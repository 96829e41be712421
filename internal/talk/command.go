package talk

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Commands are what a person can say to sonde instead of to the peer: the lines that begin with a slash. Two
// slashes are one that is sent. A nil Commands makes every line one for the peer.
type Commands struct {
	Say  func(text string) // tells the person, a line or several
	Chat *Chat             // which /hex turns over

	// Open opens a file to be sent; its error says which and why. The bytes are read to their end.
	Open func(path string) (io.ReadCloser, error)

	// Nearest returns the command that a misspelt one was meant to be, if there is one. It may be nil.
	Nearest func(word string, known []string) (string, bool)
}

// A verb is what a typed line asks for.
type verb uint8

const (
	sendLine  verb = iota // text, with its line feed
	sendBytes             // data, as they are
	sendFile              // what is in the file text
	turnHex
	turnCRLF
	showStats
	showHelp
	quit
	mistake // text says what is wrong; nothing is done
)

// commands are the verbs that are typed, in the order of the help.
var commands = []struct {
	name, argument, about string
	verb                  verb
}{
	{"/hex", "", "show what comes in hexadecimal, or no longer", turnHex},
	{"/crlf", "", "end the lines sent in CR LF, or no longer", turnCRLF},
	{"/send", "TEXT", `send TEXT without a line feed; \xNN \n \r \t \0 \\ are bytes`, sendBytes},
	{"/file", "PATH", "send what is in a file", sendFile},
	{"/stats", "", "tell what went each way so far", showStats},
	{"/quit", "", "close and leave, as 'exit' and Ctrl-D do", quit},
	{"/help", "", "tell this; a line that begins with a slash is sent with two: //", showHelp},
}

// commandHelp is what /help says.
func commandHelp() string {
	var lines []string
	for _, c := range commands {
		lines = append(lines, fmt.Sprintf("%-11s %s", strings.TrimSpace(c.name+" "+c.argument), c.about))
	}
	return strings.Join(lines, "\n")
}

func commandNames() (names []string) {
	for _, c := range commands {
		names = append(names, c.name)
	}
	return names
}

// Literal returns the line that Commands send as this one: nobody means a command by what is pasted.
func Literal(line string) string {
	if strings.HasPrefix(line, "/") {
		return "/" + line
	}
	return line
}

// A said is a typed line, understood.
type said struct {
	verb verb
	text string
	data []byte
}

// parseCommand understands a line, which comes without its line feed.
func parseCommand(line string, nearest func(string, []string) (string, bool)) said {
	switch {
	case strings.HasPrefix(line, "//"):
		return said{verb: sendLine, text: line[1:]}
	case !strings.HasPrefix(line, "/"):
		return said{verb: sendLine, text: line}
	}
	name, argument, _ := strings.Cut(line, " ")
	for _, c := range commands {
		if c.name != name {
			continue
		}
		if c.argument == "" && strings.TrimSpace(argument) != "" {
			return said{verb: mistake, text: fmt.Sprintf("%s takes no more words: nothing was done", name)}
		}
		return parseArgument(c.verb, argument)
	}
	return said{verb: mistake, text: noSuchCommand(name, nearest)}
}

func noSuchCommand(name string, nearest func(string, []string) (string, bool)) string {
	text := fmt.Sprintf("%s is no command, and was not sent; ", name)
	if nearest != nil {
		if near, ok := nearest(name, commandNames()); ok {
			text += fmt.Sprintf("did you mean %s? ", near)
		}
	}
	return text + "/help tells them all; // at the beginning of a line sends one slash"
}

func parseArgument(v verb, argument string) said {
	switch v {
	case sendBytes:
		data, err := unescape(argument)
		if err != nil {
			return said{verb: mistake, text: fmt.Sprintf("nothing was sent: %v", err)}
		}
		return said{verb: v, data: data}
	case sendFile:
		path := strings.TrimSpace(argument)
		if path == "" {
			return said{verb: mistake, text: "nothing was sent: name a file: /file PATH"}
		}
		return said{verb: v, text: path}
	}
	return said{verb: v}
}

// escapes are those of one character.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '0': 0, '\\': '\\'}

// unescape turns escapes into the bytes that they stand for.
func unescape(text string) ([]byte, error) {
	data := make([]byte, 0, len(text))
	for text != "" {
		before, rest, found := strings.Cut(text, `\`)
		data = append(data, before...)
		if !found {
			break
		}
		b, n, err := escaped(rest)
		if err != nil {
			return nil, err
		}
		data, text = append(data, b), rest[n:]
	}
	return data, nil
}

// escaped reads what stands behind a backslash, and returns how long it is.
func escaped(rest string) (b byte, n int, err error) {
	if rest == "" {
		return 0, 0, errors.New(`a backslash at the end; one that is to be sent is written \\`)
	}
	if b, ok := escapes[rest[0]]; ok {
		return b, 1, nil
	}
	if rest[0] != 'x' {
		return 0, 0, fmt.Errorf(`\%s is no escape: \xNN \n \r \t \0 \\ are`, firstRune(rest))
	}
	digits := rest[1:min(3, len(rest))]
	high, ok1 := hexDigit(digits, 0)
	low, ok2 := hexDigit(digits, 1)
	if !ok1 || !ok2 {
		return 0, 0, errors.New(`\x wants two hexadecimal digits, as \xff`)
	}
	return high<<4 | low, 3, nil
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

func hexDigit(s string, i int) (value byte, ok bool) {
	if i >= len(s) {
		return 0, false
	}
	switch c := s[i]; {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
