package sock

import "net/netip"

// A Heard is what came of a question: a datagram, or what the network said instead of delivering it.
type Heard struct {
	Peer netip.AddrPort // who answered or, with Refused, who was asked; with the zone that the question went to
	TTL  uint8          // of the packet that brought it (IPv6: its hop limit); 0 when it cannot be told
	Data []byte         // the datagram, or the first InquiryBuffer bytes of it; belongs to the Inquiry, valid until the next Read
	// Refused says that no datagram came but the error Refusal, about a question to Peer. Linux only.
	Refused bool
	Refusal ICMPError
	// Dropped is how many datagrams the kernel has thrown away so far because nobody read them in time
	// (socket(7), SO_RXQ_OVFL). Linux only.
	Dropped uint32
}

// InquiryBuffer is how much of an answer is kept, in bytes: more than an Ethernet frame carries.
const InquiryBuffer = 2048

// leastAnswerRoom is what the kernel counts for a short datagram, its own book-keeping included, in bytes.
const leastAnswerRoom = 1024
