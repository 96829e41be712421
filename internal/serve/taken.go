package serve

import (
	"syscall"
	"time"

	"sonde/internal/sock"
)

// takenCheck is how often AwaitTaken looks: nothing tells when the peer has acknowledged.
const takenCheck = time.Millisecond

// AwaitTaken waits until the peer's kernel has all that was written, for a handler that is going to Reset: a RST destroys the rest
// (RFC 9293 section 3.10.7.4). It gives up when so much time is over or the connection is cut, and where the system does not tell.
func (c *Conn) AwaitTaken(within time.Duration) {
	wire, ok := c.wire.(syscall.Conn)
	if !ok {
		return
	}
	for deadline := time.Now().Add(within); time.Now().Before(deadline) && !c.isCut(); time.Sleep(takenCheck) {
		if n, err := sock.Untaken(wire); err != nil || n == 0 {
			return
		}
	}
}

func (c *Conn) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}
