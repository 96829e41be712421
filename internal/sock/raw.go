package sock

import (
	"net/netip"
	"time"
)

// RawConfig says what a Raw sends and hears. The zero value: by any interface, all ports.
type RawConfig struct {
	// Interface is the only one that packets leave and come in by, so that this machine does not hear itself; empty: any.
	Interface string
	// Source4 and Source6, if valid, are the sources that all packets have. They are in the headers anyway, but the kernel follows
	// its routing rules for a source only if the socket is bound to it (raw_sendmsg).
	Source4, Source6 netip.Addr
	// First and Last are our source ports: of TCP only what is for one of them is heard. Last 0: all ports.
	First, Last uint16
	// Ring is how much that was heard may wait to be received, in bytes; 0: 64 MB. A short packet takes some 150.
	Ring int
}

// RawBatch is how many packets one system call of a Raw sends.
const RawBatch = 128

// RawSnap is how much of a packet a Raw hears, in bytes: all of a frame of Ethernet's usual size.
const RawSnap = 2048

// RawLag is how long a packet may have been here before Receive sees it. The kernel hands packets over by the block, and
// a block that does not get full after a few milliseconds.
const RawLag = 20 * time.Millisecond

// defaultRing is the size of the receive ring, in bytes. It has room for 400,000 answers: more than a second of what a Raw can send.
const defaultRing = 64 << 20
