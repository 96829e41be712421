package sock

import (
	"net"
	"sync"
	"syscall"
)

// BufferSize is the size of the buffers that connections share, in bytes.
const BufferSize = 16 << 10

// Buffers are shared by connections: only one that has something to read holds any. The
// zero value is ready; it must not be copied.
type Buffers struct{ pool sync.Pool }

// A Buffer is one of them.
type Buffer [BufferSize]byte

// Get lends a Buffer.
func (b *Buffers) Get() *Buffer {
	if buf, ok := b.pool.Get().(*Buffer); ok {
		return buf
	}
	return new(Buffer)
}

// Put takes it back.
func (b *Buffers) Put(buf *Buffer) { b.pool.Put(buf) }

// A Reader reads from a connection and, where the system can say when reading will not
// block, takes a buffer only then: an idle connection holds none. One goroutine uses a Reader.
type Reader struct {
	conn    net.Conn
	raw     syscall.RawConn // nil where a buffer has to wait with us
	try     func(fd uintptr) bool
	buffers *Buffers
	lent    *Buffer
	n       int
	err     error
}

// NewReader reads from conn, which stays the caller's to close.
func NewReader(conn net.Conn, buffers *Buffers) *Reader {
	r := &Reader{conn: conn, buffers: buffers}
	r.open()
	return r
}

// Next returns what came, at most BufferSize bytes, and waits for it within conn's read
// deadline. The bytes are lent: they are valid until the next call of Next or Release. The
// peer's FIN is io.EOF.
func (r *Reader) Next() ([]byte, error) {
	r.Release()
	if r.raw == nil {
		return r.wait()
	}
	r.n, r.err = 0, nil
	if err := r.raw.Read(r.try); err != nil {
		r.Release()
		return nil, err
	}
	if r.err != nil {
		r.Release()
		return nil, r.err
	}
	return r.lent[:r.n], nil
}

// wait reads with the buffer in hand.
func (r *Reader) wait() ([]byte, error) {
	r.lent = r.buffers.Get()
	n, err := r.conn.Read(r.lent[:])
	if n > 0 {
		return r.lent[:n], nil // an error will come again
	}
	r.Release()
	return nil, err
}

// Release gives back the buffer that Next lent.
func (r *Reader) Release() {
	if r.lent != nil {
		r.buffers.Put(r.lent)
		r.lent = nil
	}
}
