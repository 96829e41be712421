package payload

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"pgregory.net/rapid"
)

const token = 0x8a7b6c5d4e3f2a1b

func TestPorts(t *testing.T) {
	ports := Ports()
	if len(ports) < 50 {
		t.Errorf("%d ports, want at least 50", len(ports))
	}
	if !slices.IsSorted(ports) || len(slices.Compact(slices.Clone(ports))) != len(ports) {
		t.Errorf("ports are not ascending: %v", ports)
	}
	if got := Append([]byte("x"), 9, token); string(got) != "x" {
		t.Errorf("a port without a question is sent %q", got)
	}
	if !Answers(9, token, nil) || !Answers(9, token, []byte("anything")) {
		t.Error("a port without a question refuses a reply")
	}
	if !Elsewhere(69) || Elsewhere(53) {
		t.Error("TFTP alone answers from another port")
	}
}

func TestAQuestionIsSmall(t *testing.T) {
	for _, s := range table {
		q := Append([]byte("before"), s.port, token)
		if !bytes.HasPrefix(q, []byte("before")) {
			t.Errorf("%d/%s: the question overwrites what was there", s.port, s.name)
		}
		if n := len(q) - 6; n == 0 || n > 1200 {
			t.Errorf("%d/%s: a question of %d bytes", s.port, s.name, n)
		}
		if !bytes.Equal(q[6:], Append(nil, s.port, token)) {
			t.Errorf("%d/%s: two questions for one token", s.port, s.name)
		}
		if s.name != "echo" && Answers(s.port, token, q[6:]) {
			t.Errorf("%d/%s: the question is taken for its own answer", s.port, s.name)
		}
	}
}

func TestTheReplyOfAServerIsAnAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.Uint64().Draw(t, "token")
		for _, s := range table {
			reply := replyTo(t, s, token)
			if !Answers(s.port, token, reply) {
				t.Errorf("%d/%s: refused %x", s.port, s.name, reply)
			}
			if Answers(s.port, token, nil) {
				t.Errorf("%d/%s: an empty reply is an answer", s.port, s.name)
			}
			for n := range reply {
				Answers(s.port, token, reply[:n]) // must not panic
			}
		}
	})
}

// Each bit that the table says to come back is checked.
func TestTheReplyToAnotherTokenIsNone(t *testing.T) {
	for _, s := range table {
		reply := replyTo(t, s, token)
		for bit := range s.bits {
			if Answers(s.port, token^1<<bit, reply) {
				t.Errorf("%d/%s: the reply does not have to have bit %d of the token", s.port, s.name, bit)
			}
		}
		if s.bits == 0 && !Answers(s.port, ^uint64(token), reply) {
			t.Errorf("%d/%s: checks the token, and the table says that it cannot", s.port, s.name)
		}
	}
}

func TestOtherShapesOfAnswers(t *testing.T) {
	refused := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(token & 0xffff), Response: true, RCode: dnsmessage.RCodeRefused}}
	withoutQuestion, _ := refused.Pack()
	yes, no := true, false
	for _, c := range []struct {
		what  string
		port  uint16
		reply string
		want  bool
	}{
		{"DNS refused without the question", 53, string(withoutQuestion), yes},
		{"DNS about another name", 53, string(dnsReply(token, "example.", dnsmessage.TypeA, true, &dnsmessage.AResource{})), no},
		{"CoAP reset", 5683, "\x70\x00\x2a\x1b", yes},
		{"CoAP answer that comes later, by itself", 5683, "\x48\x45\x77\x77\x8a\x7b\x6c\x5d\x4e\x3f\x2a\x1b\xffx", yes},
		{"CoAP with the message ID and another token", 5683, "\x68\x45\x2a\x1b\x8a\x7b\x6c\x5d\x4e\x3f\x2a\x1c\xffx", no},
		{"RADIUS accept with another proxy state", 1812, "\x02\x1b\x00\x1e0123456789abcdef\x21\x0a\x8a\x7b\x6c\x5d\x4e\x3f\x2a\x1c", no},
		{"RADIUS reject without proxy state", 1812, "\x03\x1b\x00\x140123456789abcdef", yes},
		{"RPC, version mismatch", 111, "\x4e\x3f\x2a\x1b\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x02", yes},
		{"memberlist, alone", 7946, "\x02\x82\xa5SeqNo\xce\x4e\x3f\x2a\x1b\xa7Payload\xc0", yes},
		{"IKE version 1", 500, "\x8a\x7b\x6c\x5d\x4e\x3f\x2a\x1b\x00\x00\x00\x00\x00\x00\x00\x00\x0b\x10\x05\x00\x00\x00\x00\x00\x00\x00\x00\x28", yes},
		{"DTLS alert", 4433, "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x02\x28", yes},
		{"TLS, not DTLS", 4433, "\x15\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x02\x28", no},
		{"PCP that does not know NAT-PMP", 5351, "\x02\x80\x00\x01\x00\x00\x00\x00\x00\x00\x00\x10", yes},
		{"tracker's error", 6969, "\x00\x00\x00\x03\x4e\x3f\x2a\x1bno", yes},
		{"BACnet reject", 47808, "\x81\x0a\x00\x09\x01\x00\x60\x1b\x09", yes},
		{"chargen that is no text", 19, "abc\x00\x01", no},
		{"text of blanks", 13, " \r\n", no},
		{"time of three bytes", 37, "abc", no},
	} {
		if got := Answers(c.port, token, []byte(c.reply)); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// Examples from the specifications themselves, and bytes that were worked out from them by hand.
func TestQuestionsByteForByte(t *testing.T) {
	for port, want := range map[uint16]string{
		53:    "2a1b01000001000000000000" + "096c6f63616c686f737400" + "00010001",
		69:    "0001" + "736f6e646500" + "6f6374657400",                                                                              // RFC 1350, figure 5-1
		111:   "4e3f2a1b" + "00000000" + "00000002" + "000186a0" + "00000002" + "00000000" + "0000000000000000" + "0000000000000000", // RFC 5531, section 9
		123:   "23000000" + "0000000000000000000000000000000000000000000000000000000000000000" + "00000000" + "8a7b6c5d4e3f2a1b",
		137:   "2a1b00000001000000000000" + "20434b" + strings.Repeat("41", 30) + "00" + "00210001", // RFC 1002, 4.2.17
		520:   "01020000" + "00020000" + "0a3f2a1b" + "ffffffff" + "00000000" + "00000010",          // RFC 2453, section 4
		623:   "0600ff07" + "000000000000000000" + "09" + "2018c8" + "816c380e04c9",                 // IPMI 2.0, 13.8
		5351:  "0000",                                                                               // RFC 6886, section 3.2
		7000:  "8a7b6c5d4e3f2a1b" + "000000000000000000000000" + "0d05" + "000000000000",
		44818: "040000000000000000000000" + "8a7b6c5d4e3f2a1b" + "00000000",
		47808: "810a0011" + "0104" + "00051b0c" + "0c023fffff" + "194b", // ASHRAE 135, annex F.3.5, and J.2
	} {
		if got := hex.EncodeToString(Append(nil, port, token)); got != want {
			t.Errorf("%d: got  %s\n\twant %s", port, got, want)
		}
	}
}

func TestDNSQuestionsParse(t *testing.T) {
	for _, port := range []uint16{53, 137, 5353, 5355} {
		var m dnsmessage.Message
		if err := m.Unpack(Append(nil, port, token)); err != nil {
			t.Errorf("%d: %v", port, err)
			continue
		}
		if m.ID != uint16(token&0xffff) || m.Response || len(m.Questions) != 1 || len(m.Answers)+len(m.Additionals) != 0 {
			t.Errorf("%d: %+v", port, m)
		}
	}
}

// The templates of ASN.1 have their lengths written by hand: another decoder reads them.
func TestASN1QuestionsParse(t *testing.T) {
	type snmpMessage struct {
		Version int
		Header  struct {
			ID, MaxSize int
			Flags       []byte
			Security    int
		}
		Security []byte
		Data     struct {
			Engine, Name []byte
			PDU          asn1.RawValue
		}
	}
	type cldapMessage struct {
		ID     int
		Search asn1.RawValue
	}
	type kerberosMessage struct {
		Version int           `asn1:"tag:1,explicit"`
		Type    int           `asn1:"tag:2,explicit"`
		Body    asn1.RawValue `asn1:"tag:4,explicit"`
	}
	for _, c := range []struct {
		port   uint16
		into   any
		params string
	}{
		{161, &snmpMessage{}, ""},
		{389, &cldapMessage{}, ""},
		{88, &kerberosMessage{}, "application,explicit,tag:10"},
	} {
		rest, err := asn1.UnmarshalWithParams(Append(nil, c.port, token), c.into, c.params)
		if err != nil || len(rest) != 0 {
			t.Errorf("%d: %v, %d bytes left over", c.port, err, len(rest))
		}
		checkNested(t, c.port, Append(nil, c.port, token))
	}
}

// checkNested walks every constructed element: each ends where its parent does.
func checkNested(t *testing.T, port uint16, b []byte) {
	t.Helper()
	for len(b) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(b, &v)
		if err != nil {
			t.Errorf("%d: %v in %x", port, err, b)
			return
		}
		if v.IsCompound {
			checkNested(t, port, v.Bytes)
		}
		b = rest
	}
}

func TestWSDiscoveryQuestionIsXML(t *testing.T) {
	for d := xml.NewDecoder(bytes.NewReader(Append(nil, 3702, token))); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Lengths that are written in a question agree with the question.
func TestLengthsInQuestions(t *testing.T) {
	for _, c := range []struct {
		what   string
		port   uint16
		at     int // of a length of two bytes
		before int // how much of the question it does not count
	}{
		{"DTLS record", 4433, 11, 13},
		{"DTLS handshake", 4433, 15, 25},
		{"DTLS fragment", 4433, 23, 25},
		{"SLP", 427, 3, 0},
		{"RADIUS", 1812, 2, 0},
		{"RADIUS accounting", 1813, 2, 0},
		{"IKE", 500, 26, 0},
		{"IKE behind NAT", 4500, 30, 4},
		{"L2TP", 1701, 2, 0},
		{"BACnet", 47808, 2, 0},
		{"KNXnet/IP", 3671, 4, 0},
		{"GTP", 2123, 2, 8},
	} {
		q := Append(nil, c.port, token)
		if got, want := int(binary.BigEndian.Uint16(q[c.at:])), len(q)-c.before; got != want {
			t.Errorf("%s: says %d, is %d", c.what, got, want)
		}
	}
}

func TestDTLSOffer(t *testing.T) {
	b := []byte(dtlsOffer)[2:]
	ciphers := int(binary.BigEndian.Uint16(b))
	b = b[2+ciphers+2:]
	if got := int(binary.BigEndian.Uint16(b)); got != len(b)-2 {
		t.Fatalf("extensions: say %d, are %d", got, len(b)-2)
	}
	for b = b[2:]; len(b) > 0; {
		b = b[4+int(binary.BigEndian.Uint16(b[2:])):]
	}
}

// The attributes of L2TP, too, fill the message to its end.
func TestL2TPAttributes(t *testing.T) {
	for b := Append(nil, 1701, token)[12:]; len(b) > 0; {
		b = b[binary.BigEndian.Uint16(b)&0x3ff:]
	}
}

// BEP 5 has these messages.
func TestBencoding(t *testing.T) {
	response := []byte("d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re")
	failure := []byte("d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee")
	for _, message := range [][]byte{response, failure} {
		if id, ok := dictionaryValue(message, "t"); !ok || string(id) != "aa" {
			t.Errorf("transaction of %s: %q", message, id)
		}
	}
	if _, ok := dictionaryValue(Append(nil, 6881, token), "y"); !ok {
		t.Error("our own question does not parse to its end")
	}
	for _, broken := range []string{"", "d", "de", "d1:", "d1:t", "d1:ti1", "d1:tlllll", "d9:t", "d1:re1:t2:aae", "d-1:t", "l1:te", "d1:ri1ei2e"} {
		if v, ok := dictionaryValue([]byte(broken), "t"); ok && v != nil {
			t.Errorf("%q: %q", broken, v)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 1500)
	for _, s := range table {
		if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], s.port, token) }); n > 0 {
			t.Errorf("%d/%s: %v allocations", s.port, s.name, n)
		}
	}
}

func TestAnswersHardlyAllocates(t *testing.T) {
	for _, s := range table {
		reply := replyTo(t, s, token)
		if n := testing.AllocsPerRun(100, func() { Answers(s.port, token, reply) }); n > 1 {
			t.Errorf("%d/%s: %v allocations", s.port, s.name, n)
		}
	}
}

// FuzzAnswers asks all protocols about each reply: none panics, and none takes it as an answer to two tokens.
func FuzzAnswers(f *testing.F) {
	for _, s := range table {
		f.Add(replyTo(f, s, token), uint64(token), uint64(token^1))
		f.Add(Append(nil, s.port, token), uint64(token), uint64(token^0x80))
	}
	f.Fuzz(func(t *testing.T, reply []byte, a, b uint64) {
		for _, s := range table {
			first, second := Answers(s.port, a, reply), Answers(s.port, b, reply)
			mask := uint64(1)<<s.bits - 1
			if first && second && a&mask != b&mask {
				t.Errorf("%d/%s: %x answers %x and %x", s.port, s.name, reply, a, b)
			}
			if !Answers(s.port, a, replies[s.name](a)) {
				t.Errorf("%d/%s: the answer to %x is refused", s.port, s.name, a)
			}
		}
	})
}

func replyTo(t interface{ Fatalf(string, ...any) }, s service, token uint64) []byte {
	reply, ok := replies[s.name]
	if !ok {
		t.Fatalf("%d/%s: no reply is known", s.port, s.name)
	}
	return reply(token)
}
