package sock

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ring is memory that the kernel writes packets to and we read them from: TPACKET_V3 (Linux's
// Documentation/networking/packet_mmap.rst). It is in blocks, which are filled and given to us one after the other.
type ring struct {
	mu     sync.Mutex // held while a block is heard: memory that is gone is no slice that one could look into
	memory []byte     // nil when it is gone
	blocks int
	next   int // the block that we get next
}

// The shape of the ring. A small block gets full soon when much comes; when little comes, blocks are handed over unfilled, and so
// many of them that whoever reads may pause for seconds.
const (
	ringBlock  = 64 << 10 // bytes
	ringFrame  = RawSnap  // what the kernel needs to know, and does not use
	leastRing  = 4        // blocks
	ringRetire = 4        // milliseconds after which a block is handed over that is not full
)

// open makes the ring of a packet socket.
func (r *ring) open(fd, size int) error {
	if size == 0 {
		size = defaultRing
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("setsockopt PACKET_VERSION", err)
	}
	r.blocks = max(leastRing, size/ringBlock)
	req := unix.TpacketReq3{
		Block_size: ringBlock, Block_nr: uint32(r.blocks),
		Frame_size: ringFrame, Frame_nr: uint32(r.blocks * (ringBlock / ringFrame)),
		Retire_blk_tov: ringRetire,
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("make a ring of %d bytes: %w", r.blocks*ringBlock, os.NewSyscallError("setsockopt PACKET_RX_RING", err))
	}
	var err error
	r.memory, err = unix.Mmap(fd, 0, r.blocks*ringBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return os.NewSyscallError("mmap", err)
}

func (r *ring) unmap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
		r.memory = nil
	}
}

// take hears the packets of the next block and gives it back, if it is ours yet.
func (r *ring) take(hear func(packet []byte, iface int, at time.Time)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.memory == nil {
		return false
	}
	block := r.memory[r.next*ringBlock:][:ringBlock]
	header := (*unix.TpacketHdrV1)(unsafe.Pointer(&(*unix.TpacketBlockDesc)(unsafe.Pointer(&block[0])).Hdr))
	if atomic.LoadUint32(&header.Block_status)&unix.TP_STATUS_USER == 0 {
		return false
	}
	at := header.Offset_to_first_pkt
	for range header.Num_pkts {
		p := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
		start := at + uint32(p.Net)
		end := start + p.Snaplen
		link := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&block[at+linkOffset]))
		hear(block[start:end:end], int(link.Ifindex), time.Unix(int64(p.Sec), int64(p.Nsec)))
		at += p.Next_offset
	}
	atomic.StoreUint32(&header.Block_status, unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % r.blocks
	return true
}

// linkOffset is where in a frame of the ring the address of the link layer is (packet(7), TPACKET_ALIGN of the header).
const linkOffset = (uint32(unsafe.Sizeof(unix.Tpacket3Hdr{})) + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)

// drain hears what is ours by now; what comes meanwhile does not keep it going.
func (r *ring) drain(hear func(packet []byte, iface int, at time.Time)) {
	for range r.blocks {
		if !r.take(hear) {
			return
		}
	}
}
