package serve

import (
	"errors"
	"io"
	"sync"

	"sonde/internal/sock"
)

// A loop reads up to largeRead at once: half the system calls in a bulk transfer. What a peer does not take of the answer is
// kept, though, and so that many who do not read cannot hold much more memory than sockets do, only so many large rests are kept
// by a loop; while there are, little is read at once.
const (
	largeRead  = 256 << 10 // bytes
	smallRead  = sock.BufferSize
	largeRests = 64
)

type largeBuffer [largeRead]byte

// largeBuffers are shared by all loops.
var largeBuffers = sync.Pool{New: func() any { return new(largeBuffer) }}

// serve does what c's socket is ready for.
func (l *loop) serve(c *loopConn) {
	switch c.list {
	case &l.reading:
		l.read(c)
	case &l.writing:
		l.write(c)
	case &l.lingering:
		l.drain(c)
	}
}

// read reads once, so that nobody has to wait for one that sends much, and answers.
func (l *loop) read(c *loopConn) {
	space := l.buffer[:]
	if l.kept == largeRests {
		space = space[:smallRead]
	}
	n, err := c.stream.Read(space)
	if err != nil {
		if !errors.Is(err, sock.ErrWouldBlock) {
			l.end(c, err)
		}
		return
	}
	c.in += uint64(n)
	l.in += uint64(n)
	l.wait(c, &l.reading)
	if answer := l.answer(space[:n]); len(answer) > 0 {
		l.send(c, answer)
	}
}

// send sends what the socket takes, and keeps the rest.
func (l *loop) send(c *loopConn, data []byte) {
	sent, ok := l.trySend(c, data)
	if !ok || sent == len(data) {
		return
	}
	l.keep(c, data[sent:])
	l.waitToWrite(c)
	if err := l.poll.Blocked(c.stream, true); err != nil {
		l.end(c, err)
	}
}

// write sends what was kept. When it is gone the peer is read from again.
func (l *loop) write(c *loopConn) {
	sent, ok := l.trySend(c, c.unsent)
	if !ok || sent == 0 {
		return
	}
	if c.unsent = c.unsent[sent:]; len(c.unsent) > 0 {
		l.waitToWrite(c)
		return
	}
	l.letGo(c)
	l.wait(c, &l.reading)
	if err := l.poll.Blocked(c.stream, false); err != nil {
		l.end(c, err)
	}
}

// trySend returns how much was sent, and false if c has ended.
func (l *loop) trySend(c *loopConn, data []byte) (int, bool) {
	n, err := c.stream.Write(data)
	if err != nil && !errors.Is(err, sock.ErrWouldBlock) {
		l.end(c, err)
		return 0, false
	}
	c.out += uint64(n)
	l.out += uint64(n)
	return n, true
}

// halfClose sends our FIN and goes on reading to the peer's: a close with unread input would be a
// RST and could destroy what we sent last (RFC 1122 section 4.2.2.13).
func (l *loop) halfClose(c *loopConn, err error) {
	c.err = err
	if c.stream.CloseWrite() != nil {
		l.end(c, err)
		return
	}
	l.wait(c, &l.lingering)
}

// drain reads what comes after our FIN.
func (l *loop) drain(c *loopConn) {
	n, err := c.stream.Read(l.buffer[:])
	c.in += uint64(n)
	l.in += uint64(n)
	c.unread = c.unread || n > 0
	if err != nil && !errors.Is(err, sock.ErrWouldBlock) {
		c.unread = c.unread && !errors.Is(err, io.EOF)
		l.end(c, c.err)
	}
}

// keep copies what the peer does not take now.
func (l *loop) keep(c *loopConn, data []byte) {
	if len(data) <= smallRead {
		c.small = l.buffers.Get()
		c.unsent = c.small[:copy(c.small[:], data)]
		return
	}
	l.kept++
	c.large = largeBuffers.Get().(*largeBuffer)
	c.unsent = c.large[:copy(c.large[:], data)]
}

// letGo gives the buffer back.
func (l *loop) letGo(c *loopConn) {
	if c.large != nil {
		l.kept--
		largeBuffers.Put(c.large)
	} else {
		l.buffers.Put(c.small)
	}
	c.small, c.large, c.unsent = nil, nil, nil
}
