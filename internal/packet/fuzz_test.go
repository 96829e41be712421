package packet

import (
	"bytes"
	"slices"
	"testing"
	"unsafe"
)

// FuzzParse holds Parse to its promises for any bytes: it stays within them, padding changes nothing, an Is4 address
// comes of IPv4, and what was read and is built again is read as the same.
func FuzzParse(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		s := exampleSegment(v6)
		s.Payload = []byte("payload")
		for _, b := range [][]byte{s.Append(nil), linux(v6)} {
			f.Add(b)
			f.Add(AppendError(nil, s.Dst.Addr(), s.Src.Addr(), 3, 1, b))
		}
		kinds := []byte{hopByHop, routing, fragment, destination}
		p := s.Append(nil)
		if v6 {
			p[6] = kinds[0]
			p = slices.Concat(p[:IPv6Size], extensions(kinds, TCP, func() int { return 1 }), p[IPv6Size:])
			p[5] = byte(len(p) - IPv6Size)
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Datagram
		if !Parse(b, &d) {
			return
		}
		if !within(d.Payload, b) || !within(d.ip, b) || d.start > len(d.ip) || d.Quoted.Payload != nil {
			t.Fatalf("%+v is not within %x", d, b)
		}
		if v4 := b[0]>>4 == 4; d.Src.Addr().Is4() != v4 || d.Dst.Addr().Is4() != v4 {
			t.Fatalf("%v and %v are of the wrong family", d.Src, d.Dst)
		}
		d.ChecksumOK()
		checkPadding(t, b, d)
		if d.Proto == TCP {
			checkAgain(t, d.Segment)
		} else if d.Type == 0 {
			t.Fatal("an error of type 0")
		}
	})
}

// within reports whether part is a part of b, or empty.
func within(part, b []byte) bool {
	if len(part) == 0 {
		return true
	}
	first, at := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	return first <= at && at+uintptr(len(part)) <= first+uintptr(len(b))
}

func checkPadding(t *testing.T, b []byte, d Datagram) {
	if !d.whole && len(d.ip) == len(b) {
		return // what is cut short would be longer
	}
	padded := parse(t, append(bytes.Clone(b), 1, 2, 3))
	if diff := differ(d.Segment, padded.Segment); diff != "" {
		t.Fatal(diff)
	}
	if diff := differ(d.Quoted, padded.Quoted); diff != "" {
		t.Fatal(diff)
	}
}

func checkAgain(t *testing.T, s Segment) {
	if len(s.Payload) > 65000 {
		return
	}
	again := parse(t, s.Append(nil))
	if diff := differ(s, again.Segment); diff != "" || !again.ChecksumOK() {
		t.Fatalf("checksum ok %v, %s", again.ChecksumOK(), diff)
	}
}
