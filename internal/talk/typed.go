package talk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// typed is an input in which a person's commands are done and what is left is to be sent. It belongs to the goroutine that sends.
type typed struct {
	*Commands
	s    *session
	in   *bufio.Reader
	crlf bool

	rest []byte // of what is to be sent, for Read
	file *sending
}

// A sending is a file on its way.
type sending struct {
	io.ReadCloser
	path string
	sent int64
}

// typed returns the session's input, of which Commands is not nil.
func (s *session) typed() *typed {
	return &typed{Commands: s.Commands, s: s, in: bufio.NewReader(s.in), crlf: s.CRLF}
}

// Read returns what is to be sent over a stream: of one line, one /send or one file at a time.
func (t *typed) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(t.rest) > 0:
			n := copy(p, t.rest)
			t.rest = t.rest[n:]
			return n, nil
		case t.file != nil:
			if n := t.readFile(p); n > 0 {
				return n, nil
			}
			continue
		}
		w, err := t.next()
		if err != nil {
			return 0, err
		}
		switch {
		case w.verb == sendFile:
			t.open(w.text)
		case len(w.data) == 0:
			t.Say("nothing was sent: /send TEXT, as /send hello\\n")
		default:
			t.rest = w.data
		}
	}
}

// datagram returns the next datagram to be sent, of at most limit bytes.
func (t *typed) datagram(limit int) ([]byte, error) {
	for {
		w, err := t.next()
		if err != nil {
			return nil, err
		}
		data := w.data
		if w.verb == sendFile {
			var ok bool
			if data, ok = t.wholeFile(w.text, limit); !ok {
				continue
			}
		}
		if len(data) <= limit {
			return data, nil
		}
		t.Say(fmt.Sprintf("nothing was sent: %s do not fit one datagram, which takes %d", plural(int64(len(data)), "byte"), limit))
	}
}

// next does commands until there is something to be sent: data, or the file of that name.
func (t *typed) next() (said, error) {
	for {
		line, err := t.in.ReadString('\n')
		if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
			return said{}, err
		}
		if line[len(line)-1] == '\n' {
			line = line[:len(line)-1]
		}
		switch w := parseCommand(line, t.Nearest); w.verb {
		case sendLine:
			w.data = t.ended(w.text)
			return w, nil
		case sendBytes, sendFile:
			return w, nil
		case quit:
			return said{}, io.EOF
		default:
			t.do(w)
		}
	}
}

// ended is a line as it is sent.
func (t *typed) ended(line string) []byte {
	if t.crlf && (line == "" || line[len(line)-1] != '\r') {
		line += "\r"
	}
	return []byte(line + "\n")
}

// do does what sends nothing.
func (t *typed) do(w said) {
	switch w.verb {
	case turnHex:
		t.Say(map[bool]string{true: "what comes is shown in hexadecimal", false: "what comes is shown as text"}[t.Chat.ToggleHex()])
	case turnCRLF:
		t.crlf = !t.crlf
		t.Say(map[bool]string{true: "lines sent end in CR LF", false: "lines sent end in LF"}[t.crlf])
	case showStats:
		t.Say(t.s.stats())
	case showHelp:
		t.Say(commandHelp())
	default:
		t.Say(w.text)
	}
}

// open begins to send a file.
func (t *typed) open(path string) {
	f, err := t.Open(path)
	if err != nil {
		t.Say("nothing was sent: " + err.Error())
		return
	}
	t.file = &sending{ReadCloser: f, path: path}
}

// readFile returns zero when the file is over, which it then tells.
func (t *typed) readFile(p []byte) int {
	n, err := t.file.Read(p)
	t.file.sent += int64(n)
	switch {
	case n > 0, err == nil:
		return n
	case errors.Is(err, io.EOF):
		t.Say(fmt.Sprintf("sent %s of %s", plural(t.file.sent, "byte"), t.file.path))
	default:
		t.Say(fmt.Sprintf("%s could not be read to its end: %v; %s of it were sent", t.file.path, err, plural(t.file.sent, "byte")))
	}
	t.close()
	return 0
}

// wholeFile returns what is in a file if it fits one datagram, and else tells why not.
func (t *typed) wholeFile(path string, limit int) (data []byte, ok bool) {
	f, err := t.Open(path)
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(f, int64(limit)+1))
		_ = f.Close()
	}
	switch {
	case err != nil:
		t.Say("nothing was sent: " + err.Error())
	case len(data) > limit:
		t.Say(fmt.Sprintf("nothing was sent: %s does not fit one datagram, which takes %d bytes", path, limit))
	default:
		return data, true
	}
	return nil, false
}

// close closes the file that is being sent.
func (t *typed) close() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}

// stats is what /stats says.
func (s *session) stats() string {
	text := fmt.Sprintf("sent %s, received %s in %v", s.sent.count().text(s.summary.unit), s.heard.count().text(s.summary.unit), roundTime(time.Since(s.start)))
	if last := s.heard.when(); last != 0 {
		text += fmt.Sprintf("; the last of it %v ago", roundTime(s.now()-last))
	}
	return text
}
