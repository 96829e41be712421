package sock

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// A Patient is a connection that can be waited for without a buffer in hand, below a protocol that has buffers of its own: TLS. When it is told
// so its reads do not wait, but return ErrWouldBlock, and Ready waits. Where the system cannot do that, reads wait and Ready does not.
type Patient struct {
	net.Conn
	raw   syscall.RawConn
	eager bool
	fin   bool
}

// NewPatient returns conn, whose reads still wait.
func NewPatient(conn net.Conn) *Patient {
	p := &Patient{Conn: conn}
	p.open()
	return p
}

// Eager has reads return ErrWouldBlock from now on, where that can be.
func (p *Patient) Eager() { p.eager = p.raw != nil }

// Finished reports whether the peer's FIN was read.
func (p *Patient) Finished() bool { return p.fin }

// Read reads as net.Conn does.
func (p *Patient) Read(data []byte) (n int, err error) {
	if p.eager {
		n, err = p.tryRead(data)
	} else {
		n, err = p.Conn.Read(data)
	}
	p.fin = p.fin || errors.Is(err, io.EOF)
	return n, err
}
