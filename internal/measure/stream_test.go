package measure

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// A finding is a call of found, with what does not depend on how the stream was cut.
type finding struct {
	seq    uint64
	kind   string
	offset int
	stream uint64
}

func streamFindings(c Codec, size int, first uint64, chunks ...[]byte) (all []finding) {
	s := NewStream(c, size, 5, first, func(seq uint64, d *Damage) {
		f := finding{seq: seq, kind: "whole"}
		if d != nil {
			f.kind, f.offset, f.stream = d.Kind.String(), d.Offset, d.Stream
		}
		all = append(all, f)
	})
	for _, p := range chunks {
		s.Feed(p)
	}
	s.Close()
	return all
}

// cut parts a stream into chunks of any size.
func cut(t *rapid.T, p []byte) (chunks [][]byte) {
	for len(p) > 0 {
		n := rapid.IntRange(1, len(p)).Draw(t, "chunk")
		chunks, p = append(chunks, p[:n]), p[n:]
	}
	return chunks
}

func same(a, b []finding) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

const first = 1000

func stream(c Codec, size int, seqs ...uint64) (p []byte) {
	for _, seq := range seqs {
		p = append(p, payloadOf(c, size, 5, seq)...)
	}
	return p
}

func TestStreamOfAnyChunksIsWhole(t *testing.T) {
	c := NewCodec(1)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(HeaderSize, 100).Draw(t, "size")
		got := streamFindings(c, size, first, cut(t, stream(c, size, 1000, 1001, 1002, 1003))...)
		if want := []finding{{seq: 1000, kind: "whole"}, {seq: 1001, kind: "whole"}, {seq: 1002, kind: "whole"}, {seq: 1003, kind: "whole"}}; !same(got, want) {
			t.Fatal(got)
		}
	})
}

// Whichever byte is changed is told, by its offset in the payload and in the stream; all other payloads are whole.
func TestStreamChangedByte(t *testing.T) {
	c := NewCodec(1)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(HeaderSize, 100).Draw(t, "size")
		p := stream(c, size, 1000, 1001, 1002, 1003)
		at := rapid.IntRange(0, len(p)-1).Draw(t, "at")
		p[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		got := streamFindings(c, size, first, cut(t, p)...)
		for i, f := range got {
			want := finding{seq: first + uint64(i), kind: "whole"}
			if i == at/size {
				want.kind, want.offset, want.stream = "changed", at%size, uint64(at)
			}
			if f != want {
				t.Fatalf("byte %d changed, payloads of %d: %v", at, size, got)
			}
		}
		if len(got) != 4 {
			t.Fatalf("byte %d changed, payloads of %d: %v", at, size, got)
		}
	})
}

// Bytes that are missing are told where they are, and what comes behind them is found again.
func TestStreamTruncated(t *testing.T) {
	c := NewCodec(1)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(HeaderSize, 100).Draw(t, "size")
		p := stream(c, size, 1000, 1001, 1002, 1003)
		left := rapid.IntRange(1, size-1).Draw(t, "left")
		p = append(p[:size+left], p[2*size:]...)
		got := streamFindings(c, size, first, p)
		if len(got) != 4 || got[1].seq != 1001 || got[1].kind != "truncated" || got[1].offset < left || got[1].offset > left+2 {
			t.Fatalf("payloads of %d, the second cut to %d: %v", size, left, got)
		}
		for _, i := range []int{0, 2, 3} {
			if got[i] != (finding{seq: first + uint64(i), kind: "whole"}) {
				t.Fatalf("payloads of %d, the second cut to %d: %v", size, left, got)
			}
		}
		chunked := streamFindings(c, size, first, cut(t, p)...)
		if !same(chunked, got) {
			t.Fatalf("in chunks it is %v, not %v", chunked, got)
		}
	})
}

// Payloads that are missing, doubled or out of order are whole: who counts them sees by their numbers.
func TestStreamOfOtherPayloads(t *testing.T) {
	c := NewCodec(1)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(HeaderSize, 80).Draw(t, "size")
		seqs := rapid.SliceOfN(rapid.Uint64Range(900, 1100), 1, 20).Draw(t, "payloads")
		got := streamFindings(c, size, first, cut(t, stream(c, size, seqs...))...)
		for i, seq := range seqs {
			if i >= len(got) || got[i] != (finding{seq: seq, kind: "whole"}) {
				t.Fatalf("of %v: %v", seqs, got)
			}
		}
	})
}

func TestStreamOfAStranger(t *testing.T) {
	c := NewCodec(1)
	for _, text := range []string{"220 mail.example ESMTP\r\n", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"} {
		got := streamFindings(c, 64, 0, []byte(text))
		if len(got) != 1 || got[0].kind != "foreign" {
			t.Errorf("%q: %v", text, got)
		}
	}
	if got := streamFindings(c, 64, 0, payloadOf(c, 64, 5, 0)[:20]); len(got) != 0 {
		t.Errorf("what only ends too early: %v", got)
	}
}

// A damaged payload of which all bytes are there is told at once: a closed loop sends the next only then.
func TestStreamTellsDamageAtOnce(t *testing.T) {
	c, told := NewCodec(1), 0
	s := NewStream(c, 64, 5, 0, func(uint64, *Damage) { told++ })
	p := payloadOf(c, 64, 5, 0)
	p[40] ^= 1
	if s.Feed(p); told != 1 {
		t.Error("not told")
	}
	if s.Feed(payloadOf(c, 64, 5, 1)); told != 2 {
		t.Errorf("told %d times", told)
	}
}

// Whatever comes, no payload that is not there to its last byte is called whole.
func FuzzStream(f *testing.F) {
	c := NewCodec(1)
	f.Add([]byte("220 ready\r\n"), 3)
	f.Add(stream(c, 40, 0, 1, 2)[:100], 7)
	f.Add(append(stream(c, 40, 0)[:35], stream(c, 40, 1, 1)...), 1)
	f.Fuzz(func(t *testing.T, p []byte, chunk int) {
		chunk = 1 + (chunk&0x7fffffff)%64
		wholes := map[uint64]int{}
		s := NewStream(c, 40, 5, 0, func(seq uint64, d *Damage) {
			if d == nil {
				wholes[seq]++
			}
		})
		for rest := p; len(rest) > 0; rest = rest[min(len(rest), chunk):] {
			s.Feed(rest[:min(len(rest), chunk)])
		}
		s.Close()
		for at := range p {
			if seq, d := c.Check(p[at:min(len(p), at+40)], Expectation{Size: 40, Flow: 5}); d == nil {
				wholes[seq]--
			}
		}
		for seq, n := range wholes {
			if n > 0 {
				t.Fatalf("payload %d was called whole %d times too often in %x", seq, n, p)
			}
		}
	})
}
