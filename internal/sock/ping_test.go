package sock

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// What is sent can be read, and its checksum is right.
func TestEchoMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, seq := rapid.Uint16().Draw(t, "id"), rapid.Uint16().Draw(t, "seq")
		data := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "data")
		v6 := rapid.Bool().Draw(t, "v6")
		b := appendEcho([]byte("before"), v6, id, seq, data)[len("before"):]
		kind := byte(icmpEchoRequest)
		if v6 {
			kind = icmp6EchoRequest
		}
		gotID, gotSeq, got, ok := parseEcho(b, kind)
		if !ok || gotID != id || gotSeq != seq || !bytes.Equal(got, data) {
			t.Fatalf("%x is read as %d, %d, %x, %v", b, gotID, gotSeq, got, ok)
		}
		if !v6 && checksum(b) != 0 { // RFC 1071: over all, the sum included, it is zero
			t.Fatalf("%x has the wrong checksum", b)
		}
	})
}

// The example of RFC 1071, section 3.
func TestChecksum(t *testing.T) {
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
	if got := checksum([]byte{0xab}); got != ^uint16(0xab00) {
		t.Errorf("an odd byte: %#x", got)
	}
}

func FuzzEcho(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4})
	f.Add([]byte{0x4f})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		inner := skipIPv4(b)
		if len(inner) > len(b)-20 && inner != nil {
			t.Fatalf("%d bytes behind the header of %d", len(inner), len(b))
		}
		for _, packet := range [][]byte{b, inner} {
			if _, _, data, ok := parseEcho(packet, icmpEchoReply); ok && len(data) != len(packet)-echoHeader {
				t.Fatalf("%d bytes of data in %d", len(data), len(packet))
			}
		}
	})
}
