package listen

import (
	"bytes"
	"slices"
)

// MaxLine is the length of a line, in bytes, from which on it is told in parts.
const MaxLine = 64 << 10

// lines cuts a stream into lines. It holds memory for an unfinished one only.
type lines struct {
	emit func(Message) error
	part []byte
}

// take tells the lines that data completes.
func (l *lines) take(data []byte) error {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		room := MaxLine - len(l.part)
		switch {
		case end >= 0 && end <= room:
			if err := l.tell(data[:end], Message{}); err != nil {
				return err
			}
			data = data[end+1:]
		case len(data) > room: // there is more of this line than may be held
			if err := l.tell(data[:room], Message{Split: true}); err != nil {
				return err
			}
			data = data[room:]
		default:
			l.part = append(l.part, data...)
			return nil
		}
	}
	return nil
}

// tell emits what is held and tail as one message.
func (l *lines) tell(tail []byte, m Message) error {
	m.Data = tail
	if len(l.part) > 0 {
		m.Data = slices.Concat(l.part, tail)
	}
	l.part = nil
	return l.emit(m)
}

// finish tells a line that the end of the stream left unfinished.
func (l *lines) finish() error {
	if len(l.part) == 0 {
		return nil
	}
	return l.tell(nil, Message{Unfinished: true})
}
