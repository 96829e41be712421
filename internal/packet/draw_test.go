package packet

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

func drawAddr(t *rapid.T, v6 bool, name string) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)))
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)))
}

func drawAddrPort(t *rapid.T, v6 bool, name string) netip.AddrPort {
	return netip.AddrPortFrom(drawAddr(t, v6, name), rapid.Uint16().Draw(t, name+" port"))
}

func drawOptions(t *rapid.T) (o Options) {
	o.MSS = rapid.Uint16().Draw(t, "mss")
	o.SACKPermitted = rapid.Bool().Draw(t, "sack")
	if o.Scaled = rapid.Bool().Draw(t, "scaled"); o.Scaled {
		o.WindowScale = rapid.Byte().Draw(t, "scale")
	}
	if o.Timestamps = rapid.Bool().Draw(t, "timestamps"); o.Timestamps {
		o.TSVal, o.TSEcr = rapid.Uint32().Draw(t, "tsval"), rapid.Uint32().Draw(t, "tsecr")
	}
	return o
}

func drawSegment(t *rapid.T) Segment {
	v6 := rapid.Bool().Draw(t, "v6")
	s := Segment{
		Src: drawAddrPort(t, v6, "src"), Dst: drawAddrPort(t, v6, "dst"), TTL: rapid.Byte().Draw(t, "ttl"),
		Flags: Flags(rapid.Byte().Draw(t, "flags")), Window: rapid.Uint16().Draw(t, "window"),
		Seq: rapid.Uint32().Draw(t, "seq"), Ack: rapid.Uint32().Draw(t, "ack"),
		Options: drawOptions(t), Payload: rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload"),
	}
	if !v6 {
		s.ID = rapid.Uint16().Draw(t, "id")
	}
	return s
}

// network returns gopacket's IP header for what s says.
func network(s Segment, proto layers.IPProtocol) gopacket.SerializableLayer {
	if s.Src.Addr().Is4() {
		return &layers.IPv4{Version: 4, TTL: s.TTL, Id: s.ID, Flags: layers.IPv4DontFragment, Protocol: proto,
			SrcIP: s.Src.Addr().AsSlice(), DstIP: s.Dst.Addr().AsSlice()}
	}
	return &layers.IPv6{Version: 6, HopLimit: s.TTL, NextHeader: proto,
		SrcIP: s.Src.Addr().AsSlice(), DstIP: s.Dst.Addr().AsSlice()}
}

// transport returns gopacket's TCP header for what s says, above that IP header.
func transport(s Segment, ip gopacket.SerializableLayer) *layers.TCP {
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Src.Port()), DstPort: layers.TCPPort(s.Dst.Port()), Seq: s.Seq, Ack: s.Ack,
		FIN: s.Flags&FlagFIN != 0, SYN: s.Flags&FlagSYN != 0, RST: s.Flags&FlagRST != 0, PSH: s.Flags&FlagPSH != 0,
		ACK: s.Flags&FlagACK != 0, URG: s.Flags&FlagURG != 0, ECE: s.Flags&FlagECE != 0, CWR: s.Flags&FlagCWR != 0,
		Window: s.Window, Options: options(s.Options)}
	_ = tcp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer))
	return tcp
}

func options(o Options) (all []layers.TCPOption) {
	add := func(kind layers.TCPOptionKind, data ...byte) {
		all = append(all, layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data})
	}
	word := func(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
	if o.MSS != 0 {
		add(layers.TCPOptionKindMSS, byte(o.MSS>>8), byte(o.MSS))
	}
	if o.SACKPermitted {
		add(layers.TCPOptionKindSACKPermitted)
	}
	if o.Timestamps {
		add(layers.TCPOptionKindTimestamps, append(word(o.TSVal), word(o.TSEcr)...)...)
	}
	if o.Scaled {
		all = append(all, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
		add(layers.TCPOptionKindWindowScale, o.WindowScale)
	}
	return all
}

// serialize returns the packet that gopacket makes of the layers, with lengths and checksums.
func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// segment returns the packet that gopacket makes of s.
func segment(t testing.TB, s Segment) []byte {
	ip := network(s, layers.IPProtocolTCP)
	return serialize(t, ip, transport(s, ip), gopacket.Payload(s.Payload))
}

// decode returns what gopacket reads in b, of which every checksum is right.
func decode(t fataler, b []byte) gopacket.Packet {
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.Default)
	for _, layer := range p.Layers() {
		if summed, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			_ = summed.SetNetworkLayerForChecksum(p.NetworkLayer())
		}
	}
	if err, wrong := p.VerifyChecksums(); err != nil || len(wrong) > 0 {
		t.Fatalf("gopacket on the checksums of %x: %v, %v", b, err, wrong)
	}
	return p
}

type fataler interface{ Fatalf(string, ...any) }
