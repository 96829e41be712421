package packet

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// differ says where two segments differ.
func differ(want, got Segment) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty())
}

// parse parses what a scan must understand.
func parse(t fataler, b []byte) Datagram {
	var d Datagram
	if !Parse(b, &d) {
		t.Fatalf("not understood: %x", b)
	}
	return d
}

func TestParseReadsWhatIsBuilt(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := drawSegment(r)
		padding := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(r, "padding")
		d := parse(r, append(s.Append(nil), padding...))
		if diff := differ(s, d.Segment); diff != "" {
			r.Fatal(diff)
		}
		if d.Proto != TCP || d.Type != 0 || !d.ChecksumOK() {
			r.Fatalf("protocol %d, type %d, checksum ok %v", d.Proto, d.Type, d.ChecksumOK())
		}
	})
}

// What gopacket builds has headers that we do not build.
func TestParseReadsGopackets(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := drawSegment(r)
		packet := withExtras(t, r, s)
		decode(r, packet)
		d := parse(r, packet)
		if diff := differ(s, d.Segment); diff != "" {
			r.Fatal(diff)
		}
		if !d.ChecksumOK() {
			r.Fatalf("the checksum is wrong: %x", packet)
		}
	})
}

// withExtras returns the packet that gopacket makes of s, with IP options or extension headers.
func withExtras(t testing.TB, r *rapid.T, s Segment) []byte {
	ip := network(s, layers.IPProtocolTCP)
	all := []gopacket.SerializableLayer{ip}
	switch ip := ip.(type) {
	case *layers.IPv4:
		for range rapid.IntRange(0, 3).Draw(r, "options") {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}})
		}
	case *layers.IPv6:
		kinds := rapid.SliceOfN(rapid.SampledFrom([]byte{hopByHop, routing, fragment, destination}), 0, 4).Draw(r, "extensions")
		headers := extensions(kinds, TCP, func() int { return rapid.IntRange(0, 3).Draw(r, "length") })
		ip.NextHeader = layers.IPProtocol(append(kinds, TCP)[0])
		all = append(all, gopacket.Payload(headers))
	}
	return serialize(t, append(all, transport(s, ip), gopacket.Payload(s.Payload))...)
}

// extensions returns extension headers of those kinds, in front of proto, that do nothing: options are padding, a routing header has
// no segments left, a fragment is all there is (RFC 6946). Each is as many 8 bytes longer than need be as length says.
func extensions(kinds []byte, proto byte, length func() int) (all []byte) {
	next := append(slices.Clone(kinds), proto)[1:]
	for i, kind := range kinds {
		switch kind {
		case fragment:
			all = append(all, next[i], 99, 0, 6, 1, 2, 3, 4) // reserved bits are set, and not asked
		case routing:
			all = append(all, next[i], 0, 253, 0, 0, 0, 0, 0)
		default:
			n := length()
			all = append(all, next[i], byte(n), 1, byte(4+8*n))
			all = append(all, make([]byte, 4+8*n)...)
		}
	}
	return all
}

func TestParseReadsErrors(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := drawSegment(r)
		v6 := s.Src.Addr().Is6()
		from := drawAddr(r, v6, "from")
		typ := rapid.SampledFrom([]uint8{3, 4, 5, 11, 12}).Draw(r, "type")
		if v6 {
			typ = rapid.SampledFrom([]uint8{1, 2, 3, 4}).Draw(r, "type")
		}
		code := rapid.Byte().Draw(r, "code")
		quote, size := withExtras(t, r, s), TCPSize+s.Options.size()+len(s.Payload)
		quoted := rapid.IntRange(8, size).Draw(r, "quoted")
		quote = quote[:len(quote)-size+quoted]
		d := parse(r, AppendError(nil, from, s.Src.Addr(), typ, code, quote))

		if want := (Segment{Src: netip.AddrPortFrom(from, 0), Dst: netip.AddrPortFrom(s.Src.Addr(), 0), TTL: 64}); differ(want, d.Segment) != "" {
			r.Fatal(differ(want, d.Segment))
		}
		if d.Type != typ || d.Code != code || d.QuotedProto != TCP || !d.ChecksumOK() {
			r.Fatalf("type %d code %d about protocol %d, checksum ok %v", d.Type, d.Code, d.QuotedProto, d.ChecksumOK())
		}
		if diff := differ(asQuoted(s, quoted), d.Quoted); diff != "" {
			r.Fatal(diff)
		}
	})
}

// asQuoted returns what can be known of s from the first size bytes of its TCP header.
func asQuoted(s Segment, size int) Segment {
	known := Segment{Src: s.Src, Dst: s.Dst, TTL: s.TTL, ID: s.ID, Seq: s.Seq}
	if size < TCPSize {
		return known
	}
	known.Ack, known.Flags, known.Window = s.Ack, s.Flags, s.Window
	left := size - TCPSize // options are known that end within
	has := func(there bool, size int) bool {
		if there {
			left -= size
		}
		return there && left >= 0
	}
	o := s.Options
	if has(o.MSS != 0, 4) {
		known.Options.MSS = o.MSS
	}
	known.Options.SACKPermitted = has(o.SACKPermitted, 2)
	if has(o.Timestamps, 10) {
		known.Options.Timestamps, known.Options.TSVal, known.Options.TSEcr = true, o.TSVal, o.TSEcr
	}
	if has(o.Scaled, 4) {
		known.Options.Scaled, known.Options.WindowScale = true, o.WindowScale
	}
	return known
}

func TestQuotesOfOtherProtocols(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := exampleSegment(v6)
		bare := Segment{Src: netip.AddrPortFrom(s.Src.Addr(), 0), Dst: netip.AddrPortFrom(s.Dst.Addr(), 0), TTL: s.TTL, ID: s.ID}
		withPorts := bare
		withPorts.Src, withPorts.Dst = s.Src, s.Dst
		udp := serialize(t, network(s, layers.IPProtocolUDP), gopacket.Payload{
			byte(s.Src.Port() >> 8), byte(s.Src.Port()), byte(s.Dst.Port() >> 8), byte(s.Dst.Port()), 0, 8, 0, 0})
		gre := serialize(t, network(s, 47), gopacket.Payload("GRE"))
		for _, c := range []struct {
			quote []byte
			proto uint8
			want  Segment
		}{{udp, UDP, withPorts}, {gre, 47, bare}} {
			d := parse(t, AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, c.quote))
			if diff := differ(c.want, d.Quoted); diff != "" || d.QuotedProto != c.proto {
				t.Errorf("protocol %d, read as %d: %s", c.proto, d.QuotedProto, diff)
			}
		}
	}
}

// Some systems change the length in a quote; ours says that the packet is longer or shorter than it is.
func TestQuotedLengthIsNotAsked(t *testing.T) {
	for _, length := range []byte{0, 20, 24, 255} {
		s := exampleSegment(false)
		quote := s.Append(nil)
		quote[2], quote[3] = 0, length
		d := parse(t, AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, quote))
		if diff := differ(s, d.Quoted); diff != "" {
			t.Errorf("length %d: %s", length, diff)
		}
	}
}

func TestMalformedOptions(t *testing.T) {
	mss, whole := []byte{2, 4, 5, 0xb4}, Options{MSS: 1460}
	for name, c := range map[string]struct {
		options []byte
		want    Options
	}{
		"length 0":            {append(slices.Clone(mss), 3, 0, 7, 0), whole},
		"length 1":            {append(slices.Clone(mss), 3, 1, 7, 0), whole},
		"longer than header":  {append(slices.Clone(mss), 8, 10, 1, 2), whole},
		"kind without length": {append(slices.Clone(mss), 1, 1, 1, 8), whole},
		"behind the end":      {append(slices.Clone(mss), 0, 2, 4, 2), whole},
		"unknown first":       {append([]byte{254, 4, 1, 2}, mss...), whole},
		"timestamps short":    {append([]byte{8, 8, 1, 2, 3, 4, 5, 6}, mss...), whole},
		"scale long":          {append([]byte{3, 4, 1, 2}, mss...), whole},
		"mss long":            {[]byte{2, 5, 5, 0xb4, 1, 4, 2, 0}, Options{SACKPermitted: true}},
		"sack blocks":         {append([]byte{1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, mss...), whole},
		"all there is":        {bytes.Repeat([]byte{1}, 40), Options{}},
	} {
		s := exampleSegment(false)
		s.Options, s.Payload = Options{}, append(c.options, "payload"...)
		b := s.Append(nil)
		b[IPv4Size+12] = byte(TCPSize+len(c.options)) / 4 << 4
		s.Options, s.Payload = c.want, s.Payload[len(c.options):]
		d := parse(t, b)
		if diff := differ(s, d.Segment); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// set returns b with those bytes from at on.
func set(b []byte, at int, bytes ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], bytes)
	return b
}

func TestParseRefuses(t *testing.T) {
	v4, v6 := exampleSegment(false), exampleSegment(true)
	p4, p6 := v4.Append(nil), v6.Append(nil)
	icmp := func(typ uint8, quote []byte) []byte {
		return AppendError(nil, v4.Dst.Addr(), v4.Src.Addr(), typ, 0, quote)
	}
	icmp6 := func(typ uint8, quote []byte) []byte {
		return AppendError(nil, v6.Dst.Addr(), v6.Src.Addr(), typ, 0, quote)
	}
	extended := func(header ...byte) []byte { // p6 with an extension header
		b := slices.Concat(p6[:IPv6Size], header, p6[IPv6Size:])
		b[5] += byte(len(header))
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":                      {},
		"no IP":                        set(p4, 0, 0x55),
		"IPv4 cut in its header":       p4[:19],
		"IPv6 cut in its header":       p6[:39],
		"IPv4 header of 16 bytes":      set(set(p4, 0, 0x44), 28, 0x50), // where TCP would have its size
		"IPv4 options beyond the end":  set(p4, 0, 0x4f, 0, 0, 59),
		"IPv4 length within header":    set(p4, 2, 0, 19),
		"IPv4 length within TCP":       set(p4, 2, 0, 39),
		"IPv6 length within TCP":       set(p6, 4, 0, 19),
		"TCP cut in its header":        p4[:39],
		"TCP cut in its options":       p4[:59],
		"TCP header of 16 bytes":       set(p4, 32, 0x40),
		"TCP header beyond the end":    set(p4, 32, 0xb0),
		"IPv4 fragment further behind": set(p4, 6, 0, 1),
		"IPv4 fragment, far behind":    set(p4, 6, 0x10, 0),
		"IPv6 fragment further behind": set(extended(TCP, 0, 0, 8, 0, 0, 0, 0), 6, fragment),
		"IPv6 extension beyond packet": set(extended(TCP, 99, 1, 4, 0, 0, 0, 0), 6, destination),
		"IPv6 extension cut":           set(extended(TCP, 0, 1, 4, 0, 0, 0, 0), 6, destination)[:47],
		"IPv6 extensions for ever":     set(bytes.Repeat([]byte{0}, 4000), 0, 0x60, 0, 0, 0, 0xff, 0xff),
		"IPv6 with another header":     set(p6, 6, 59),
		"UDP":                          set(p4, 9, UDP),
		"ICMP in IPv6":                 set(icmp6(3, p6), 6, ICMP),
		"ICMPv6 in IPv4":               set(icmp(3, p4), 9, ICMPv6),
		"echo reply":                   icmp(0, p4),
		"echo request":                 icmp(8, p4),
		"ICMPv6 echo reply":            icmp6(129, p6),
		"ICMPv6 type 0":                icmp6(0, p6),
		"ICMPv6 type 5":                icmp6(5, p6),
		"ICMP cut":                     icmp(3, nil)[:27],
		"no quote":                     icmp(3, nil),
		"quoted IP header cut":         icmp(3, p4[:19]),
		"7 bytes of TCP quoted":        icmp(3, p4[:27]),
		"7 bytes of UDP quoted":        icmp6(1, set(p6, 6, UDP)[:47]),
		"IPv6 quoted in IPv4":          icmp(3, p6),
		"IPv4 quoted in IPv6":          icmp6(1, p4),
		"fragment quoted":              icmp(3, set(p4, 6, 0, 1)),
	} {
		var d Datagram
		if Parse(b, &d) {
			t.Errorf("%s: read as %+v", name, d)
		}
	}
}

// A datagram is not what is left of the one before.
func TestParseForgets(t *testing.T) {
	s, bare := exampleSegment(false), Segment{Src: exampleSegment(true).Src, Dst: exampleSegment(true).Dst}
	d := parse(t, AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, s.Append(nil)))
	Parse(bare.Append(nil), &d)
	if diff := differ(bare, d.Segment); diff != "" || d.Type != 0 || d.QuotedProto != 0 || differ(Segment{}, d.Quoted) != "" {
		t.Errorf("%+v: %s", d, diff)
	}
}

// An ICMP checksum does not cover the length: what was cut short may still have the right sum.
func TestZeroesCutOff(t *testing.T) {
	s := exampleSegment(false)
	s.Payload = make([]byte, 8)
	b := AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, s.Append(nil))
	for cut, want := range []bool{true, false, false} {
		if d := parse(t, b[:len(b)-cut]); d.ChecksumOK() != want {
			t.Errorf("%d bytes cut off: checksum ok %v", cut, !want)
		}
	}
}

// The first fragment, and a packet that was cut short, have all that a scan asks; their checksums cannot be told.
func TestPartOfAPacket(t *testing.T) {
	s := exampleSegment(false)
	s.Payload = []byte("payload")
	whole := s.Append(nil)
	first := set(whole, 6, 0x20, 0)
	s6 := exampleSegment(true)
	first6 := set(slices.Concat(s6.Append(nil)[:IPv6Size], []byte{TCP, 0, 0, 1, 0, 0, 0, 0}, s6.Append(nil)[IPv6Size:]), 5, 48, fragment)
	short := s
	short.Payload = s.Payload[:3]
	for name, c := range map[string]struct {
		b    []byte
		want Segment
	}{"fragment": {first, s}, "IPv6 fragment": {first6, s6}, "cut short": {whole[:len(whole)-4], short}} {
		d := parse(t, c.b)
		if diff := differ(c.want, d.Segment); diff != "" || d.ChecksumOK() {
			t.Errorf("%s: checksum ok %v, %s", name, d.ChecksumOK(), diff)
		}
	}
}

func TestChecksumFindsEveryFlip(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := exampleSegment(v6)
		s.Payload = []byte("odd")
		segment := s.Append(nil)
		for name, packet := range map[string][]byte{
			"TCP":  segment,
			"ICMP": AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, segment[:len(segment)-4]),
		} {
			for bit := range len(packet) * 8 {
				if v6 && bit < IPv6Size*8 && (bit < 48 || bit/8 == 7) {
					continue // nothing covers version, traffic class, flow label and hop limit
				}
				flipped := slices.Clone(packet)
				flipped[bit/8] ^= 1 << (bit % 8)
				var d Datagram
				if Parse(flipped, &d) && d.ChecksumOK() {
					t.Errorf("%s, v6 %v: bit %d of byte %d flipped, and the checksum is right", name, v6, bit%8, bit/8)
				}
			}
		}
	}
}

func TestIPv4AddressesAreNotMapped(t *testing.T) {
	s := exampleSegment(false)
	d := parse(t, AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, s.Append(nil)))
	for _, a := range []netip.AddrPort{d.Src, d.Dst, d.Quoted.Src, d.Quoted.Dst} {
		if !a.Addr().Is4() {
			t.Errorf("%v is not of IPv4", a)
		}
	}
}

// benchPackets are what a scan hears.
func benchPackets(v6 bool) map[string][]byte {
	s := exampleSegment(v6)
	syn := s.Append(nil)
	return map[string][]byte{"segment": syn, "error": AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, syn)}
}

func TestParseAllocatesNothing(t *testing.T) {
	var d Datagram
	for _, v6 := range []bool{false, true} {
		for name, b := range benchPackets(v6) {
			ok := true
			if n := testing.AllocsPerRun(100, func() { ok = ok && Parse(b, &d) && d.ChecksumOK() }); n != 0 || !ok {
				t.Errorf("v6 %v, %s: Parse allocates %v times (understood: %v)", v6, name, n, ok)
			}
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		for name, packet := range benchPackets(v6) {
			b.Run(family(v6)+"/"+name, func(b *testing.B) {
				var d Datagram
				b.ReportAllocs()
				for b.Loop() {
					Parse(packet, &d)
				}
			})
		}
	}
}

func BenchmarkChecksumOK(b *testing.B) {
	var d Datagram
	Parse(benchPackets(false)["segment"], &d)
	for b.Loop() {
		d.ChecksumOK()
	}
}
