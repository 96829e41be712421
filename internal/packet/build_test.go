package packet

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

func TestSegmentIsGopackets(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := drawSegment(r)
		before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(r, "before")
		got := s.Append(bytes.Clone(before))
		if !bytes.Equal(got[:len(before)], before) {
			r.Fatalf("what was in the buffer has changed: %x, was %x", got[:len(before)], before)
		}
		if want := segment(t, s); !bytes.Equal(got[len(before):], want) {
			r.Fatalf("%+v\nis       %x\ngopacket %x", s, got[len(before):], want)
		}
	})
}

func TestErrorDecodes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		probe := drawSegment(r)
		v6 := probe.Src.Addr().Is6()
		from, to := drawAddr(r, v6, "from"), probe.Src.Addr()
		typ, code := uint8(3), rapid.Byte().Draw(r, "code")
		if v6 {
			typ = 1
		}
		whole := probe.Append(nil)
		quoted := whole[:rapid.IntRange(0, len(whole)).Draw(r, "quoted")]
		p := decode(r, AppendError(nil, from, to, typ, code, quoted))
		if v6 {
			ip, icmp := p.Layers()[0].(*layers.IPv6), p.Layers()[1].(*layers.ICMPv6)
			if icmp.TypeCode != layers.CreateICMPv6TypeCode(typ, code) || !bytes.Equal(icmp.Payload[4:], quoted) {
				r.Fatalf("gopacket reads %v %x", icmp.TypeCode, icmp.Payload)
			}
			checkAddresses(r, ip.NetworkFlow(), from.AsSlice(), to.AsSlice())
		} else {
			ip, icmp := p.Layers()[0].(*layers.IPv4), p.Layers()[1].(*layers.ICMPv4)
			if icmp.TypeCode != layers.CreateICMPv4TypeCode(typ, code) || !bytes.Equal(icmp.Payload, quoted) {
				r.Fatalf("gopacket reads %v %x", icmp.TypeCode, icmp.Payload)
			}
			checkAddresses(r, ip.NetworkFlow(), from.AsSlice(), to.AsSlice())
		}
	})
}

func checkAddresses(t fataler, flow gopacket.Flow, src, dst []byte) {
	if got := flow.Src().Raw(); !bytes.Equal(got, src) {
		t.Fatalf("the source is %x, not %x", got, src)
	}
	if got := flow.Dst().Raw(); !bytes.Equal(got, dst) {
		t.Fatalf("the destination is %x, not %x", got, dst)
	}
}

func TestFlagsString(t *testing.T) {
	for f, want := range map[Flags]string{
		0: "none", FlagSYN: "SYN", FlagSYN | FlagACK: "SYN,ACK", FlagRST | FlagACK: "RST,ACK",
		255: "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR",
	} {
		if got := f.String(); got != want {
			t.Errorf("Flags(%d) is %q, not %q", uint8(f), got, want)
		}
	}
}

// The examples of RFC 1071 section 3, and what a sum of 64 bits must not lose.
func TestSum(t *testing.T) {
	for _, c := range []struct {
		b    []byte
		want uint16
	}{
		{nil, 0},
		{[]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0xddf2},
		{[]byte{0xab}, 0xab00},
		{[]byte{1, 2, 3}, 0x0402},
		{bytes.Repeat([]byte{0xff}, 65535), 0xff00},
	} {
		if got := fold(sum(0, c.b)); got != c.want {
			t.Errorf("the sum of %d bytes is %#x, not %#x", len(c.b), got, c.want)
		}
	}
	if got := fold(1<<64 - 1); got != 0xffff {
		t.Errorf("the greatest sum folds to %#x", got)
	}
}

func BenchmarkSegmentAppend(b *testing.B) {
	s := exampleSegment(false)
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.Append(buf[:0])
	}
}
