package sock

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonde/internal/lab"
)

// Whatever cannot be sent is told apart, and keeps nothing else from leaving.
func TestRawSendErrors(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{Rules: []lab.Rule{{}}})
	n.Filter(t, lab.Rule{Ports: lab.Port(666), Do: lab.Drop})
	r := openRaw(t, RawConfig{})
	from, from6 := netip.MustParseAddrPort("198.18.1.1:50000"), netip.MustParseAddrPort("[fd00:1::1]:50000")
	good, good6 := tcpPacket(from, netip.AddrPortFrom(host.IPv4, 1), "S", 1), tcpPacket(from6, netip.AddrPortFrom(host.IPv6, 1), "S", 1)
	bad := []struct {
		packet []byte
		err    error
	}{
		{tcpPacket(from, netip.MustParseAddrPort("203.0.113.1:1"), "S", 1), unix.ENETUNREACH},
		{tcpPacket(from6, netip.MustParseAddrPort("[2001:db8::1]:1"), "S", 1), unix.ENETUNREACH},
		{tcpPacket(from, netip.AddrPortFrom(host.IPv4, 666), "S", 1), unix.EPERM},
		{tcpPacket(from6, netip.AddrPortFrom(host.IPv6, 666), "S", 1), unix.EPERM},
		{tcpPacket(from, netip.MustParseAddrPort("198.18.1.255:1"), "S", 1), unix.EACCES},
		{append(good[:20:20], make([]byte, 2000)...), unix.EMSGSIZE},
		{nil, unix.EINVAL}, {good[:19], unix.EINVAL}, {good6[:39], unix.EINVAL}, {[]byte("what"), unix.EINVAL},
	}
	var batch [][]byte
	want := map[int]error{}
	for range 10 { // more than a system call takes
		for _, b := range bad {
			want[len(batch)+1] = b.err
			batch = append(batch, good, b.packet, good6, good6, good)
		}
	}
	rest, first, sent := batch, 0, 0
	for len(rest) > 0 {
		n, err := r.Send(rest)
		sent, first, rest = sent+n, first+n, rest[n:]
		switch {
		case err == nil && len(rest) > 0:
			t.Fatalf("stopped before packet %d and did not say why", first)
		case err != nil:
			if !errors.Is(err, want[first]) || want[first] == nil {
				t.Errorf("packet %d: %v, want %v", first, err, want[first])
			}
			delete(want, first)
			first, rest = first+1, rest[1:]
		}
	}
	if len(want) > 0 || sent != 4*len(batch)/5 {
		t.Errorf("sent %d of %d; no errors for %v", sent, len(batch), want)
	}
	for deadline := time.Now().Add(5 * time.Second); host.Hits(t)[0] < uint64(sent) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := host.Hits(t)[0]; got != uint64(sent) {
		t.Errorf("%d arrived of %d", got, sent)
	}
}

// A queue that is full is told as such: here one of 3,000 bytes from which 1,000 leave each second.
func TestRawQueueFull(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{})
	link, err := netlink.LinkByName("lab1")
	if err != nil {
		t.Fatal(err)
	}
	r := openRaw(t, RawConfig{First: 50000, Last: 50000})
	syns := [][]byte{
		tcpPacket(netip.MustParseAddrPort("198.18.1.1:50000"), netip.AddrPortFrom(host.IPv4, 1), "S", 1),
		tcpPacket(netip.MustParseAddrPort("[fd00:1::1]:50000"), netip.AddrPortFrom(host.IPv6, 1), "S", 1),
	}
	heard := listenTo(t, r)
	sendAllOf(t, r, syns...)
	heard.wait(2) // so that the link addresses are known
	tbf := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate: 1000, Limit: 3000, Buffer: netlink.Xmittime(1000, 2000)}
	if err := netlink.QdiscAdd(tbf); err != nil {
		t.Skipf("no such queue here: %v", err)
	}
	for _, syn := range syns {
		n, err := r.Send(slices.Repeat([][]byte{syn}, 1000))
		if !errors.Is(err, unix.ENOBUFS) || !IsLimit(err) || n == 1000 {
			t.Errorf("%d bytes: sent %d, %v", len(syn), n, err)
		}
	}
}

// What waits for a neighbour that is not there fills the buffer.
func TestRawBufferFull(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	n.Host(t, lab.Config{})
	if err := os.WriteFile("/proc/sys/net/ipv4/neigh/lab1/unres_qlen_bytes", []byte("100000000"), 0); err != nil {
		t.Fatal(err)
	}
	r := openRaw(t, RawConfig{})
	syn := tcpPacket(netip.MustParseAddrPort("198.18.1.1:50000"), netip.MustParseAddrPort("198.18.1.77:1"), "S", 1)
	n1, err := r.Send(slices.Repeat([][]byte{syn}, 100000))
	if !errors.Is(err, unix.EAGAIN) || !IsLimit(err) || n1 < 1000 || n1 == 100000 {
		t.Errorf("sent %d, %v", n1, err)
	}
	t.Logf("%d packets under way", n1)
}

// One family does without the other.
func TestRawOneFamily(t *testing.T) {
	n := lab.Enter(t)
	if n == nil {
		return
	}
	host := n.Host(t, lab.Config{})
	r := openRaw(t, RawConfig{})
	r.six.close()
	r.six.file, r.six.absent = nil, unix.EAFNOSUPPORT // as socket(2) has it where there is no IPv6
	good := tcpPacket(netip.MustParseAddrPort("198.18.1.1:50000"), netip.AddrPortFrom(host.IPv4, 1), "S", 1)
	six := tcpPacket(netip.MustParseAddrPort("[fd00:1::1]:50000"), netip.AddrPortFrom(host.IPv6, 1), "S", 1)
	if n, err := r.Send([][]byte{good, six, good}); n != 1 || !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("sent %d, %v", n, err)
	}
	if n, err := r.Send([][]byte{good}); n != 1 || err != nil {
		t.Errorf("sent %d, %v", n, err)
	}
}

func TestRawSendAllocatesNothing(t *testing.T) {
	if lab.Enter(t) == nil {
		return
	}
	r := openRaw(t, RawConfig{Ring: 1})
	lo, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	a := tcpPacket(netip.AddrPortFrom(lo, 1), netip.AddrPortFrom(lo, 2), "S", 1)
	b := tcpPacket(netip.AddrPortFrom(lo6, 1), netip.AddrPortFrom(lo6, 2), "S", 1)
	unsent := tcpPacket(netip.AddrPortFrom(lo, 1), netip.MustParseAddrPort("192.0.2.1:2"), "S", 1)
	batch := slices.Concat(slices.Repeat([][]byte{a}, 200), slices.Repeat([][]byte{a, b}, 20), [][]byte{unsent})
	allocs := testing.AllocsPerRun(20, func() {
		if n, err := r.Send(batch); n != len(batch)-1 || err != syscall.ENETUNREACH {
			t.Errorf("sent %d, %v", n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// How fast SYNs leave for a host that swallows them.
func BenchmarkRawSend(b *testing.B) {
	n := lab.Enter(b)
	if n == nil {
		return
	}
	prefix := netip.MustParsePrefix("10.9.0.0/16")
	n.Host(b, lab.Config{Local: []netip.Prefix{prefix}, Wire: lab.Sink})
	r := openRaw(b, RawConfig{})
	var batch [][]byte
	for i := range byte(RawBatch) {
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, i, 1}), 80)
		batch = append(batch, tcpPacket(netip.MustParseAddrPort("198.18.1.1:50000"), to, "S", 1))
	}
	for i := 0; b.Loop(); i++ {
		if i%RawBatch == 0 {
			sendAllOf(b, r, batch...)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}
