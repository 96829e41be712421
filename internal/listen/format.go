package listen

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"sonde/internal/probe"
	"sonde/internal/safetext"
	"sonde/internal/serve"
)

// Text writes a line for each message, in which nothing of the peer's can be taken for a line
// or a word of ours: its bytes come last and escaped.
type Text struct{ W io.Writer }

// Listening writes the line that a program waits for.
func (t Text) Listening(proto probe.Proto, local netip.AddrPort) error {
	_, err := fmt.Fprintf(t.W, "listening %v %v\n", proto, local)
	return err
}

// Connection writes nothing: connections are for the log.
func (t Text) Connection(serve.Event) error { return nil }

// Message writes m, as in
//
//	15:04:05.000 tcp 127.0.0.1:41234: a line
//	15:04:05.000 udp 127.0.0.1:41234, 6 bytes: hello\n
func (t Text) Message(m Message) error {
	about := []string{fmt.Sprintf("%s %v %v", m.Time.Format("15:04:05.000"), m.Proto, m.Peer)}
	if m.Proto == probe.UDP {
		about = append(about, fmt.Sprintf("%d %s", len(m.Data), plural(len(m.Data), "byte")))
	}
	for _, flag := range []struct {
		set  bool
		word string
	}{{m.Truncated, "truncated"}, {m.Split, "line split here"}, {m.Unfinished, "no newline at the end"}} {
		if flag.set {
			about = append(about, flag.word)
		}
	}
	_, err := fmt.Fprintf(t.W, "%s: %s\n", strings.Join(about, ", "), safetext.String(string(m.Data)))
	return err
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// Raw writes the bytes of the messages and nothing else.
type Raw struct{ W io.Writer }

// Listening writes nothing.
func (r Raw) Listening(probe.Proto, netip.AddrPort) error { return nil }

// Connection writes nothing.
func (r Raw) Connection(serve.Event) error { return nil }

// Message writes m's bytes.
func (r Raw) Message(m Message) error {
	_, err := r.W.Write(m.Data)
	return err
}

// JSON writes one object per line.
type JSON struct{ W io.Writer }

// Listening writes {"type":"listening",…}.
func (j JSON) Listening(proto probe.Proto, local netip.AddrPort) error {
	return j.write(struct {
		Type  string         `json:"type"`
		Proto string         `json:"proto"`
		Local netip.AddrPort `json:"local"`
	}{"listening", proto.String(), local})
}

// Message writes {"type":"message",…}. "data" is for reading, with U+FFFD for what is no
// UTF-8; "data_b64" is exact.
func (j JSON) Message(m Message) error {
	return j.write(struct {
		Type       string    `json:"type"`
		Proto      string    `json:"proto"`
		Peer       string    `json:"peer"`
		Local      string    `json:"local,omitempty"`
		Size       int       `json:"size"`
		Truncated  bool      `json:"truncated"`
		Split      bool      `json:"split,omitempty"`
		Unfinished bool      `json:"unfinished,omitempty"`
		Time       time.Time `json:"time"`
		Data       string    `json:"data"`
		Bytes      []byte    `json:"data_b64"`
	}{"message", m.Proto.String(), m.Peer.String(), text(m.Local), len(m.Data), m.Truncated, m.Split, m.Unfinished,
		m.Time, string(m.Data), append([]byte{}, m.Data...)})
}

// Connection writes {"type":"opened",…} and {"type":"closed",…}; "ending" is fin, closed (by
// us), reset, timeout, limit or error.
func (j JSON) Connection(e serve.Event) error {
	o := struct {
		Type     string    `json:"type"`
		Proto    string    `json:"proto"`
		Peer     string    `json:"peer"`
		Local    string    `json:"local"`
		Time     time.Time `json:"time"`
		Size     *uint64   `json:"size,omitempty"`
		Duration *float64  `json:"duration_s,omitempty"`
		Ending   string    `json:"ending,omitempty"`
		Error    string    `json:"error,omitempty"`
	}{Type: "opened", Proto: probe.TCP.String(), Peer: e.Peer.String(), Local: e.Local.String(), Time: e.Time}
	if e.Kind == serve.Ended {
		seconds := e.Duration.Seconds()
		o.Type, o.Size, o.Duration, o.Ending = "closed", &e.In, &seconds, e.Ending.String()
		if e.Err != nil {
			o.Error = e.Err.Error()
		}
	}
	return j.write(o)
}

func (j JSON) write(o any) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = io.WriteString(j.W, terminalSafe(string(line))+"\n")
	return err
}

// terminalSafe writes the characters that JSON lets pass and a terminal obeys (DEL, C1, changes
// of writing direction) as \u escapes, which are the same to a reader of JSON. In what
// json.Marshal wrote they stand inside strings only.
func terminalSafe(line string) string {
	obeyed := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if strings.IndexFunc(line, obeyed) < 0 {
		return line
	}
	var b strings.Builder
	for _, r := range line {
		if obeyed(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func text(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
