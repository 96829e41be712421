package xdp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/dchest/siphash"

	"sonde/internal/lab"
	"sonde/internal/packet"
)

// What package unix has no struct for: the context of an XDP program, as BPF_PROG_RUN takes it (linux/bpf.h, struct xdp_md).
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

// What the kernel does with a frame.
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)

var testConfig = Config{Key: [2]uint64{1, 2}, FirstPort: 40000, Ports: 16, Ring: 1 << 16}

// cookie is what package syn puts into a probe to a.
func cookie(a netip.AddrPort) uint64 {
	return siphash.Hash(testConfig.Key[0], testConfig.Key[1], binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port()))
}

// put runs the program as if a packet came in by an interface, and returns what becomes of it.
func put(t *testing.T, e *Engine, p []byte) (verdict uint32, out []byte) {
	t.Helper()
	kind := []byte{0x08, 0x00}
	if p[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	frame := slices.Concat([]byte{2, 0, 0, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 2}, kind, p)
	out = make([]byte, len(frame)+256)
	opts := &ebpf.RunOptions{Data: frame, DataOut: out, Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: 2}}
	verdict, err := e.objects.Probe.Run(opts)
	if err != nil {
		t.Fatal(err)
	}
	return verdict, opts.DataOut
}

// The program answers a SYN-ACK that brings the cookie by the reset that closes it, takes a reset, and leaves all else alone.
func TestReceive(t *testing.T) {
	net := lab.Enter(t)
	if net == nil {
		return
	}
	net.Host(t, lab.Config{}) // so that there is an interface 2
	e, err := Open(testConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, addrs := range [][2]string{{"198.18.0.2:80", "198.18.0.1"}, {"[fd00::2]:443", "fd00::1"}} {
		them := netip.MustParseAddrPort(addrs[0])
		h := cookie(them)
		us := netip.AddrPortFrom(netip.MustParseAddr(addrs[1]), 40000+uint16(h>>32)&15)
		seq := uint32(h)&^7 | 5
		answer := packet.Segment{Src: them, Dst: us, TTL: 60, Seq: 1234, Ack: seq + 1, Flags: packet.FlagSYN | packet.FlagACK,
			Options: packet.Options{MSS: 1460, SACKPermitted: true, Timestamps: true, TSVal: 9, TSEcr: uint32(h >> 32)}}
		checkReset(t, e, answer)
		for name, c := range map[string]struct {
			change func(*packet.Segment)
			want   uint32
		}{
			"a reset":                    {func(s *packet.Segment) { s.Flags = packet.FlagRST | packet.FlagACK }, xdpDrop},
			"a reset without a byte":     {func(s *packet.Segment) { s.Flags, s.Ack = packet.FlagRST|packet.FlagACK, s.Ack-1 }, xdpDrop},
			"a reset of another":         {func(s *packet.Segment) { s.Flags, s.Ack = packet.FlagRST|packet.FlagACK, s.Ack+8 }, xdpPass},
			"a SYN-ACK without a byte":   {func(s *packet.Segment) { s.Ack--; s.Ack -= 8 }, xdpPass},
			"a SYN-ACK of another":       {func(s *packet.Segment) { s.Ack += 8 }, xdpPass},
			"a SYN-ACK to another port":  {func(s *packet.Segment) { s.Dst = netip.AddrPortFrom(s.Dst.Addr(), 40000+(s.Dst.Port()-40000+1)%16) }, xdpPass},
			"a SYN-ACK to a port beyond": {func(s *packet.Segment) { s.Dst = netip.AddrPortFrom(s.Dst.Addr(), 40016) }, xdpPass},
			"a SYN":                      {func(s *packet.Segment) { s.Flags = packet.FlagSYN }, xdpPass},
			"data":                       {func(s *packet.Segment) { s.Flags = packet.FlagACK }, xdpPass},
		} {
			s := answer
			c.change(&s)
			if verdict, _ := put(t, e, s.Append(nil)); verdict != c.want {
				t.Errorf("%v: %s: verdict %d, want %d", them, name, verdict, c.want)
			}
		}
	}
	if s := e.State().Strangers; s != 8 {
		t.Errorf("%d strangers were counted, want 8", s)
	}
}

func checkReset(t *testing.T, e *Engine, answer packet.Segment) {
	t.Helper()
	verdict, out := put(t, e, answer.Append(nil))
	var d packet.Datagram
	if verdict != xdpRedirect || !packet.Parse(out[14:], &d) || !d.ChecksumOK() {
		t.Fatalf("%v: verdict %d, %v, checksums right: %v", answer.Src, verdict, &d, d.ChecksumOK())
	}
	if d.Src != answer.Dst || d.Dst != answer.Src || d.Flags != packet.FlagRST || d.Seq != answer.Ack || d.TTL != 64 || d.Options != (packet.Options{}) || len(d.Payload) > 0 {
		t.Errorf("%v: it is closed by %v", answer.Src, &d)
	}
	if !slices.Equal(out[:12], []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}) {
		t.Errorf("%v: the reset goes from and to % x", answer.Src, out[:12])
	}
}
