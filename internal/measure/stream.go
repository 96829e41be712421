package measure

// A Stream verifies what comes back over one TCP connection: payloads one behind the other, cut into any chunks. What
// it finds does not depend on how they are cut.
//
// At the first byte that is not what was sent it begins to look for the next header that is whole. Where that stands,
// and which payload it begins, says what happened: in its place, so bytes were changed; before it, so some are missing.
type Stream struct {
	codec Codec
	flow  uint64
	size  int
	found func(seq uint64, d *Damage)

	seq    uint64 // the payload whose bytes come now
	hash   uint64 // of it, once its header is there
	at     int    // how many bytes of it came; in a damaged stream, since it began
	pos    uint64 // bytes of the stream before it
	whole  bool   // a whole payload has come
	window [HeaderSize]byte

	bad  *Damage // of payload seq, while the next header is looked for
	told bool    // found knows it already
	same int     // bytes behind the first bad one that are what they should be
}

// NewStream returns the verifier of a connection whose first payload is number first. It calls found for each payload
// that is there to its last byte, with nil, and for each that is damaged.
func NewStream(c Codec, size int, flow, first uint64, found func(seq uint64, d *Damage)) *Stream {
	return &Stream{codec: c, flow: flow, size: size, seq: first, found: found}
}

// Feed takes the next bytes of the stream. It does not allocate while they are what was sent.
func (s *Stream) Feed(p []byte) {
	for len(p) > 0 {
		switch {
		case s.bad != nil:
			p = s.search(p)
		case s.at < HeaderSize:
			p = s.header(p)
		default:
			p = s.body(p)
		}
	}
	s.settle()
}

// header takes bytes of the header of a payload.
func (s *Stream) header(p []byte) []byte {
	n := copy(s.window[s.at:], p)
	s.at += n
	if s.at == HeaderSize {
		seq, hash, ok := s.codec.open(s.window[:], s.size, s.flow)
		if ok {
			s.begin(seq, hash)
		} else {
			s.breakHeader()
		}
	}
	return p[n:]
}

// begin goes on behind the header of a payload.
func (s *Stream) begin(seq, hash uint64) {
	s.seq, s.hash, s.at, s.bad, s.told = seq, hash, HeaderSize, nil, false
	s.complete()
}

// complete passes on to the next payload if this one is whole.
func (s *Stream) complete() {
	if s.at == s.size {
		s.whole = true
		s.found(s.seq, nil)
		s.advance(1)
	}
}

// advance goes on n payloads further on, with nothing of it read.
func (s *Stream) advance(n uint64) {
	s.pos += uint64(s.at)
	s.seq, s.at, s.bad, s.told = s.seq+n, 0, nil, false
}

// body takes bytes of the body.
func (s *Stream) body(p []byte) []byte {
	n := min(len(p), s.size-s.at)
	good := match(p[:n], s.hash, s.at-HeaderSize)
	s.at += good
	if good < n {
		s.spoil(p[good:])
		s.refill()
		return p[good:]
	}
	s.complete()
	return p[n:]
}

// refill puts into the window what came before the first bad byte, where a header may have begun.
func (s *Stream) refill() {
	from := s.at - HeaderSize
	if from >= HeaderSize {
		fill(s.window[:], s.hash, from-HeaderSize)
		return
	}
	var start [2 * HeaderSize]byte
	s.codec.putHeader(start[:], s.size, s.flow, s.seq)
	fill(start[HeaderSize:], s.hash, 0)
	copy(s.window[:], start[from:])
}

// spoil notes that the payload is not what was sent from here on.
func (s *Stream) spoil(got []byte) {
	s.bad = &Damage{Kind: Changed, Seq: s.seq, Offset: s.at, Stream: s.pos + uint64(s.at), Want: s.codec.sent(s.size, s.flow, s.seq, s.at)}
	s.bad.Got = append(s.bad.Got, got[:min(len(got), shownBytes)]...)
	s.told, s.same = false, 0
}

// breakHeader takes a header that is damaged, or none.
func (s *Stream) breakHeader() {
	var want [HeaderSize]byte
	s.hash = s.codec.putHeader(want[:], s.size, s.flow, s.seq)
	s.at = 0
	for s.window[s.at] == want[s.at] {
		s.at++
	}
	s.spoil(s.window[s.at:])
	s.at = HeaderSize
	same := agreement(s.window[:], want[:])
	s.same = same - s.bad.Offset
	if same < closeMatch && !s.whole {
		s.bad.Kind, s.bad.Offset, s.bad.Stream = Foreign, 0, s.pos
		s.bad.Got = append([]byte(nil), s.window[:]...)
		s.tell()
	}
}

func (s *Stream) tell() {
	if !s.told {
		s.told = true
		s.found(s.seq, s.bad)
	}
}

// search looks for the next header, byte by byte.
func (s *Stream) search(p []byte) []byte {
	for i, b := range p {
		if s.at < s.size && s.at >= HeaderSize && match(p[i:i+1], s.hash, s.at-HeaderSize) == 1 {
			s.same++
		}
		copy(s.window[:], s.window[1:])
		s.window[HeaderSize-1] = b
		s.at++
		if s.at < HeaderSize || !s.resume() {
			continue
		}
		return p[i+1:]
	}
	return nil
}

// resume goes on with the header in the window, if it is one.
func (s *Stream) resume() bool {
	start := s.at - HeaderSize // of what is in the window, from the beginning of the damaged payload
	if start == 0 {
		return false
	}
	if seq, hash, ok := s.codec.open(s.window[:], s.size, s.flow); ok {
		if seq > s.seq && start < s.size {
			s.bad.Kind = Truncated
		}
		s.tell()
		s.rest(start, seq)
		s.pos += uint64(start)
		s.begin(seq, hash)
		return true
	}
	if start%s.size != 0 {
		return false
	}
	steps := uint64(start / s.size)
	var want [HeaderSize]byte
	s.codec.putHeader(want[:], s.size, s.flow, s.seq+steps)
	if agreement(s.window[:], want[:]) < closeMatch {
		return false
	}
	s.tell()
	s.rest(start, s.seq+steps)
	s.pos += uint64(start)
	s.seq += steps
	s.breakHeader()
	return true
}

// rest tells of the payloads between the damaged one and next, if as many bytes came as they have: they are damaged
// from the beginning.
func (s *Stream) rest(start int, next uint64) {
	steps := uint64(start / s.size)
	if start%s.size != 0 || next != s.seq+steps {
		return
	}
	for seq := s.seq + 1; seq < next; seq++ {
		before := int(seq-s.seq) * s.size
		s.found(seq, &Damage{Kind: Changed, Seq: seq, Stream: s.pos + uint64(before), Want: s.codec.sent(s.size, s.flow, seq, 0)})
	}
}

// settle tells of a damaged payload of which all bytes came and nothing more: the sender may wait for it before it
// sends the next, whose header would tell. If bytes are missing, what came would not have agreed. Behind
// a wrong last byte there is nothing to agree: it may be the next header's first.
func (s *Stream) settle() {
	seen := s.at - s.offset() - 1
	if s.bad != nil && s.at == s.size && s.bad.Kind != Foreign && 2*s.same > seen {
		s.tell()
	}
}

func (s *Stream) offset() int {
	if s.bad == nil {
		return 0
	}
	return s.bad.Offset
}

// Close tells of what is damaged and was waited with. A payload that had not come to its end is not.
func (s *Stream) Close() {
	if s.bad != nil {
		s.tell()
		return
	}
	if s.whole || s.at == 0 || s.at >= HeaderSize {
		return
	}
	var want [HeaderSize]byte
	s.codec.putHeader(want[:], s.size, s.flow, s.seq)
	if agreement(s.window[:s.at], want[:s.at])*HeaderSize < closeMatch*s.at {
		s.bad = &Damage{Kind: Foreign, Seq: s.seq, Stream: s.pos, Got: append([]byte(nil), s.window[:s.at]...)}
		s.tell()
	}
}
