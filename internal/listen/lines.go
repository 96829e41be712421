package listen

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// MaxLine is the length of a line, in bytes, from which on it is told in parts.
const MaxLine = 64 << 10

// mostHeld is how many bytes of unfinished lines are held, over all connections. Beyond it lines are told in shorter parts.
const mostHeld = 64 << 20

// A room is what may still be held, in bytes.
type room struct{ left atomic.Int64 }

func newRoom(size int64) *room {
	r := new(room)
	r.left.Store(size)
	return r
}

// take reports whether there was room for n bytes, and gives it away.
func (r *room) take(n int) bool {
	if r.left.Add(-int64(n)) >= 0 {
		return true
	}
	r.give(n)
	return false
}

func (r *room) give(n int) { r.left.Add(int64(n)) }

// lines cuts a stream into lines. It holds memory for an unfinished one only, as far as there is room.
type lines struct {
	emit func(Message) error
	room *room
	part []byte // its capacity is taken of the room
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
		case !l.hold(data):
			return l.tell(data, Message{Split: true})
		default:
			return nil
		}
	}
	return nil
}

// hold keeps data, if there is room.
func (l *lines) hold(data []byte) bool {
	if need := len(l.part) + len(data); need > cap(l.part) {
		size := min(max(need, 2*cap(l.part)), MaxLine)
		if !l.room.take(size - cap(l.part)) {
			return false
		}
		l.part = append(make([]byte, 0, size), l.part...)
	}
	l.part = append(l.part, data...)
	return true
}

// tell emits what is held and tail as one message.
func (l *lines) tell(tail []byte, m Message) error {
	m.Data = tail
	if len(l.part) > 0 {
		m.Data = slices.Concat(l.part, tail)
	}
	l.room.give(cap(l.part))
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
