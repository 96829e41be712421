package measure

import (
	"bytes"
	"compress/flate"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func payloadOf(c Codec, size int, flow, seq uint64) []byte {
	p := make([]byte, size)
	c.Put(p, flow, seq)
	return p
}

func TestPayloadsCannotBeCompressed(t *testing.T) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCodec(1)
	for seq := range uint64(16) {
		_, _ = w.Write(payloadOf(c, 4096, 7, seq)[HeaderSize:])
	}
	_ = w.Close()
	if out.Len() < 16*(4096-HeaderSize) {
		t.Errorf("%d bytes of bodies became %d", 16*(4096-HeaderSize), out.Len())
	}
}

// Any part of a body can be made and checked alone.
func TestBodyFromAnyOffset(t *testing.T) {
	whole := make([]byte, 200)
	fill(whole, 42, 0)
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, len(whole)).Draw(t, "from")
		to := rapid.IntRange(from, len(whole)).Draw(t, "to")
		part := make([]byte, to-from)
		fill(part, 42, from)
		if !bytes.Equal(part, whole[from:to]) {
			t.Fatalf("%x, not %x", part, whole[from:to])
		}
		if n := match(part, 42, from); n != len(part) {
			t.Fatalf("only %d of %d bytes match", n, len(part))
		}
		if len(part) > 0 {
			i := rapid.IntRange(0, len(part)-1).Draw(t, "changed")
			part[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
			if n := match(part, 42, from); n != i {
				t.Fatalf("changed at %d, found at %d", i, n)
			}
		}
	})
}

// A datagram that is whole is; one of which any byte is changed, or that is cut off or longer, is told with the
// first offset, and as the payload it was.
func TestCheckTellsDamage(t *testing.T) {
	c := NewCodec(3)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(HeaderSize, 300).Draw(t, "size")
		low := rapid.Uint64Range(0, 1<<40).Draw(t, "low")
		e := Expectation{Size: size, Flow: 9, Low: low, High: low + rapid.Uint64Range(1, 100).Draw(t, "in flight")}
		seq := rapid.Uint64Range(e.Low, e.High-1).Draw(t, "seq")
		sent := payloadOf(c, size, 9, seq)
		got := slices.Clone(sent)
		if n, d := c.Check(got, e); n != seq || d != nil {
			t.Fatalf("whole: payload %d, %v", n, d)
		}
		switch rapid.SampledFrom([]string{"change", "cut", "lengthen"}).Draw(t, "damage") {
		case "change":
			i := rapid.IntRange(0, size-1).Draw(t, "at")
			got[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
			n, d := c.Check(got, e)
			if n != seq || d == nil || d.Kind != Changed || d.Seq != seq || d.Offset != i || d.Want[0] != sent[i] || d.Got[0] != got[i] {
				t.Fatalf("byte %d of payload %d of %d changed: payload %d, %+v", i, seq, size, n, d)
			}
		case "cut":
			i := rapid.IntRange(hashed, size-1).Draw(t, "to")
			if n, d := c.Check(got[:i], e); n != seq || d == nil || d.Kind != Truncated || d.Offset != i {
				t.Fatalf("payload %d cut to %d of %d: payload %d, %+v", seq, i, size, n, d)
			}
		case "lengthen":
			n, d := c.Check(append(got, 0), e)
			if n != seq || d == nil || d.Kind != Changed || d.Offset != size || len(d.Want) != 0 || !strings.Contains(d.Error(), "behind its end") {
				t.Fatalf("lengthened: payload %d, %+v", n, d)
			}
		}
	})
}

func TestStrangersAreForeign(t *testing.T) {
	c, e := NewCodec(1), Expectation{Size: 64, Flow: 5, High: 10}
	for name, p := range map[string][]byte{
		"text":                 []byte("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"),
		"another run's":        payloadOf(NewCodec(2), 64, NewCodec(2).Flow(0, 0), 3),
		"another connection's": payloadOf(c, 64, 6, 20),
		"nothing":              make([]byte, 64),
	} {
		if _, d := c.Check(p, e); d == nil || d.Kind != Foreign {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if _, d := c.Check(nil, e); d == nil || d.Kind != Truncated || d.Offset != 0 {
		t.Errorf("an empty datagram is a payload of which nothing is left: %+v", d)
	}
}

func TestFlowsDiffer(t *testing.T) {
	c, seen := NewCodec(1), map[uint64]bool{}
	for i := range 100 {
		for n := range 10 {
			seen[c.Flow(i, n)] = true
		}
	}
	if len(seen) != 1000 || NewCodec(2).Flow(0, 0) == c.Flow(0, 0) {
		t.Errorf("%d names of 1000", len(seen))
	}
}

func TestNoAllocationsPerProbe(t *testing.T) {
	c, p, e := NewCodec(1), make([]byte, 512), Expectation{Size: 512, Flow: 1, High: 1 << 40}
	seq := uint64(0)
	s := NewStream(c, 512, 1, 0, func(uint64, *Damage) {})
	track := newTracker(1, 8)
	d := NewDistribution()
	if n := testing.AllocsPerRun(1000, func() {
		c.Put(p, 1, seq)
		track.send(0, 0)
		if _, bad := c.Check(p, e); bad != nil {
			t.Fatal(bad)
		}
		s.Feed(p)
		track.reply(seq, 1, nil)
		d.Record(1000)
		seq++
	}); n != 0 {
		t.Errorf("%v allocations for a probe", n)
	}
}

func FuzzPayload(f *testing.F) {
	c := NewCodec(1)
	f.Add([]byte("220 ready\r\n"), uint8(3))
	f.Add(payloadOf(c, 64, 1, 2), uint8(3))
	f.Add(payloadOf(c, 64, 1, 2)[:40], uint8(0))
	f.Fuzz(func(t *testing.T, p []byte, high uint8) {
		seq, d := c.Check(p, Expectation{Size: 64, Flow: 1, High: uint64(high)})
		if whole := bytes.Equal(p, payloadOf(c, 64, 1, seq)); whole != (d == nil) {
			t.Fatalf("%x is payload %d, whole %v, and was called %v", p, seq, whole, d)
		}
		if d != nil && d.Kind != Foreign {
			want := payloadOf(c, 64, 1, seq)
			if !bytes.Equal(p[:d.Offset], want[:d.Offset]) || d.Offset < len(p) && d.Offset < 64 && p[d.Offset] == want[d.Offset] {
				t.Fatalf("%x and %x do not differ first at %d", p, want, d.Offset)
			}
		}
	})
}
