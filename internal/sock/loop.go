package sock

import (
	"net"
	"net/netip"
)

// ErrWouldBlock says that nothing can be read now, or written. It is temporary, as a net.Error: crypto/tls goes on after it.
var ErrWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing can be read or written now" }
func (wouldBlock) Timeout() bool   { return false }
func (wouldBlock) Temporary() bool { return true }

// A Stream is a TCP connection outside the reach of Go's scheduler: a bare descriptor that never waits. What is to be
// waited for, a Loop waits for. A goroutine per connection is served by net.Conn instead.
//
// One goroutine uses a Stream, and closes it.
type Stream struct {
	fd          int
	peer, local netip.AddrPort
}

// RemoteAddr returns the peer's address.
func (s *Stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.peer) }

// LocalAddr returns the address that the peer connected to.
func (s *Stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.local) }

// Key is a small number that no other open Stream has; a Loop names streams by it.
func (s *Stream) Key() int { return s.fd }

// A StreamListener accepts Streams. The goroutine that accepts waits as any other does.
type StreamListener struct{ streamSource }

// A Loop waits for many Streams at once. It owns none of them: each leaves it by being closed. One goroutine uses a Loop;
// only Wake may be called from others, and even when it is closed.
//
// A stream is watched for something to read, and while it is Blocked for room to write instead. It is named as often as Wait is called until
// it was read or written (level-triggered, epoll(7)), and also when it has failed: reading or writing says how.
type Loop struct{ poller }
