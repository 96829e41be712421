package packet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func family(v6 bool) string {
	if v6 {
		return "v6"
	}
	return "v4"
}

func exampleSource(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("2001:db8::1")
	}
	return netip.MustParseAddr("192.0.2.1")
}

func exampleFields(v6 bool) Fields {
	f := Fields{Dst: netip.MustParseAddrPort("192.0.2.2:443"), SrcPort: 45798, Seq: 2196832853, TSVal: 4141881864, ID: 0x84d6}
	if v6 {
		f = Fields{Dst: netip.MustParseAddrPort("[2001:db8::2]:443"), SrcPort: 49446, Seq: 193340427, TSVal: 721333333}
	}
	return f
}

func exampleSegment(v6 bool) Segment {
	f := exampleFields(v6)
	return Segment{Src: netip.AddrPortFrom(exampleSource(v6), f.SrcPort), Dst: f.Dst, TTL: 64, ID: f.ID,
		Flags: FlagSYN, Seq: f.Seq, Window: 64240, Options: Options{MSS: 1460, SACKPermitted: true, Scaled: true, WindowScale: 7,
			Timestamps: true, TSVal: f.TSVal}}
}

// SYNs of Linux 6.18 on a veth pair. Apart from the checksums, which that leaves half done, these differ: the window scale, of
// which Linux makes 10 where much memory is allowed and 7 by default; and IPv6's flow label.
const (
	linuxSYN = "4500003c84d64000400631e2 c0000201 c0000202" +
		"b2e601bb82f1025500000000a002faf0 8432 0000020405b40402080af6e01a08000000000103030a"
	linuxSYN6 = "60083400002806 40 20010db8000000000000000000000001 20010db8000000000000000000000002" +
		"c12601bb0b86240b00000000a002fd20 5ba3 0000020405a00402080a2afeac55000000000103030a"
)

func linux(v6 bool) []byte {
	text := linuxSYN
	if v6 {
		text = linuxSYN6
	}
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestLooksLikeLinux(t *testing.T) {
	for v6, mss := range map[bool]uint16{false: 1460, true: 1440} {
		s := NewSYN(exampleSource(v6), mss)
		got, want := s.Append(nil, exampleFields(v6)), linux(v6)
		decode(t, got)
		want[len(want)-1] = 7
		tcp := len(want) - SYNSize
		copy(want[tcp+TCPChecksum:][:2], got[tcp+TCPChecksum:])
		if v6 {
			want[1], want[2] = 0, 0
		}
		if !bytes.Equal(got, want) {
			t.Errorf("ours   %x\nLinux's %x", got, want)
		}
	}
}

func drawFields(t *rapid.T, v6 bool) Fields {
	f := Fields{Dst: drawAddrPort(t, v6, "dst"), SrcPort: rapid.Uint16().Draw(t, "src port"),
		Seq: rapid.Uint32().Draw(t, "seq"), TSVal: rapid.Uint32().Draw(t, "tsval")}
	if !v6 {
		f.ID = rapid.Uint16().Draw(t, "id")
	}
	return f
}

// Patching a template makes what gopacket makes from nothing.
func TestSYNIsGopackets(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v6 := rapid.Bool().Draw(r, "v6")
		src, mss := drawAddr(r, v6, "src"), rapid.Uint16().Draw(r, "mss")
		syn := NewSYN(src, mss)
		mss = cmp.Or(mss, map[bool]uint16{false: 536, true: 1220}[v6])
		before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(r, "before")
		for range 2 { // the second is not made of the first
			f := drawFields(r, v6)
			want := segment(t, Segment{Src: netip.AddrPortFrom(src, f.SrcPort), Dst: f.Dst, TTL: 64, ID: f.ID, Flags: FlagSYN, Seq: f.Seq,
				Window:  window(mss),
				Options: Options{MSS: mss, SACKPermitted: true, Scaled: true, WindowScale: 7, Timestamps: true, TSVal: f.TSVal}})
			got := syn.Append(bytes.Clone(before), f)
			if !bytes.Equal(got[:len(before)], before) {
				r.Fatalf("what was in the buffer has changed: %x, was %x", got[:len(before)], before)
			}
			if !bytes.Equal(got[len(before):], want) {
				r.Fatalf("%+v\nis       %x\ngopacket %x", f, got[len(before):], want)
			}
		}
	})
}

func TestWindow(t *testing.T) {
	for mss, want := range map[uint16]uint16{1460: 64240, 1440: 64800, 65495: 65495, 536: 65392, 65535: 65535} {
		if got := window(mss); got != want {
			t.Errorf("mss %d: a window of %d, not %d", mss, got, want)
		}
	}
}

// A program that knows only the template and the offsets, and adds 16-bit words, makes the same packets.
func TestTemplate(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v6 := rapid.Bool().Draw(r, "v6")
		syn := NewSYN(drawAddr(r, v6, "src"), rapid.Uint16().Draw(r, "mss"))
		f := drawFields(r, v6)
		template := syn.Template()
		want := syn.Append(nil, f)
		if got := patchElsewhere(template, f); !bytes.Equal(got, want) {
			r.Fatalf("patched %x\nAppend  %x", got, want)
		}
		if again := syn.Template(); !bytes.Equal(again.Packet, template.Packet) || cap(again.Packet) != len(again.Packet) {
			r.Fatalf("the template has changed")
		}
	})
}

func patchElsewhere(t Template, f Fields) []byte {
	p := bytes.Clone(t.Packet)
	tcp, dstAt := IPv6Size, IPv6Dst
	if f.Dst.Addr().Is4() {
		tcp, dstAt = IPv4Size, IPv4Dst
	}
	put := func(at int, field []byte, sums ...*uint32) {
		copy(p[at:], field)
		for ; len(field) > 0; field = field[2:] {
			for _, s := range sums {
				*s += uint32(binary.BigEndian.Uint16(field))
				*s = *s>>16 + *s&0xffff
			}
		}
	}
	word := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	long := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	ip, sum := uint32(t.IPSum), uint32(t.TCPSum)
	put(dstAt, f.Dst.Addr().AsSlice(), &ip, &sum)
	put(tcp+TCPSrcPort, word(f.SrcPort), &sum)
	put(tcp+TCPDstPort, word(f.Dst.Port()), &sum)
	put(tcp+TCPSeq, long(f.Seq), &sum)
	put(tcp+SYNTSVal, long(f.TSVal), &sum)
	put(tcp+TCPChecksum, word(^uint16(sum)))
	if f.Dst.Addr().Is4() {
		put(IPv4ID, word(f.ID), &ip)
		put(IPv4Checksum, word(^uint16(ip)))
	}
	return p
}

func TestBuildingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 256)
	for _, v6 := range []bool{false, true} {
		syn, f, segment := NewSYN(exampleSource(v6), 1460), exampleFields(v6), exampleSegment(v6)
		for name, build := range map[string]func(){
			"SYN.Append":     func() { buf = syn.Append(buf[:0], f) },
			"Segment.Append": func() { buf = segment.Append(buf[:0]) },
		} {
			if n := testing.AllocsPerRun(100, build); n != 0 {
				t.Errorf("v6 %v: %s allocates %v times", v6, name, n)
			}
		}
	}
}

func BenchmarkSYN(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(family(v6), func(b *testing.B) {
			syn, f := NewSYN(exampleSource(v6), 1460), exampleFields(v6)
			buf := make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				f.Seq += 0x9e3779b9
				buf = syn.Append(buf[:0], f)
			}
		})
	}
}
