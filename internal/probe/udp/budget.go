package udp

import "time"

// A budget is how often a host refuses by ICMP, as far as is known. Its zero value knows of no refusal.
//
// Hosts hold a bucket: Linux six tokens and one more each second (inet_peer_xrlim_allow in the kernel; four a second for
// IPv6 on a link), BSD 200 in each second. To ask faster than the bucket fills costs no time, since each token is still spent on a
// port, but it spends attempts on ports whose refusal is not sent. To ask more slowly costs time. That an ordinary probe is silent
// says neither: its port may be open, or filtered. A control, whose refusal would come, tells them apart: silent, it
// shows that the bucket was empty, and the interval grows fourfold; answered, that there was a token left, and it is halved. It
// is never made as short again as one that emptied the bucket.
type budget struct {
	interval time.Duration // between two probes; 0: the host has refused nothing
	empties  time.Duration // the longest interval that was seen to empty the bucket
	next     time.Time     // when the next probe may go
}

const (
	firstInterval = 50 * time.Millisecond
	leastInterval = 2 * time.Millisecond
	mostInterval  = 1100 * time.Millisecond // Linux's second, and a margin
)

// known reports whether the host has refused anything.
func (b *budget) known() bool { return b.interval > 0 }

// refused notes a refusal.
func (b *budget) refused(control bool) {
	switch {
	case !b.known():
		b.interval = firstInterval
	case control:
		b.shorten(b.interval / 2)
	default:
		b.shorten(b.interval - b.interval/32)
	}
}

func (b *budget) shorten(interval time.Duration) {
	b.interval = min(b.interval, max(interval, 2*b.empties, leastInterval))
}

// silent notes that a control was not refused.
func (b *budget) silent() {
	if b.known() {
		b.empties = max(b.empties, b.interval)
		b.interval = min(4*b.interval, mostInterval)
	}
}

// spend notes that a probe goes.
func (b *budget) spend(now time.Time) { b.next = now.Add(b.interval) }
