package listen

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sonde/internal/probe"
	"sonde/internal/serve"
	"sonde/internal/sock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept is a Sink that keeps what it gets.
type kept struct {
	messages    []Message
	connections []serve.Event
	got         chan Message // each message, too
	fail        error
}

func newKept() *kept { return &kept{got: make(chan Message, 1000)} }

func (k *kept) Listening(probe.Proto, netip.AddrPort) error { return nil }

func (k *kept) Message(m Message) error {
	m.Data = bytes.Clone(m.Data)
	k.messages = append(k.messages, m)
	k.got <- m
	return k.fail
}

func (k *kept) Connection(e serve.Event) error {
	k.connections = append(k.connections, e)
	return nil
}

// serveBoth starts s on both protocols of 127.0.0.1; stop ends it and returns its error.
func serveBoth(t *testing.T, s *Server) (tcp string, udp netip.AddrPort, stop func() error) {
	t.Helper()
	sockets, err := serve.Bind(t.Context(), serve.Want{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, TCP: true, UDP: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, sockets.TCP, []Conn{sockets.UDP[0]}) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		defer sockets.Close()
		return <-served
	}
	t.Cleanup(func() { _ = stop() })
	return sockets.TCP[0].Addr().String(), sockets.UDP[0].LocalAddr(), stop
}

func send(t *testing.T, network, addr string, parts ...string) net.Addr {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, p := range parts {
		if _, err := c.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	return c.LocalAddr()
}

func TestLinesOfEachPeer(t *testing.T) {
	sink := newKept()
	tcp, _, stop := serveBoth(t, &Server{Sink: sink, Limits: serve.Limits{Grace: time.Minute}})
	a := send(t, "tcp", tcp, "one\ntw", "o\n\nlast without end")
	for range 4 {
		<-sink.got
	}
	b := send(t, "tcp", tcp, "from another\n")
	<-sink.got
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range sink.messages {
		lines = append(lines, fmt.Sprintf("%v %v %q %v", m.Proto, m.Peer, m.Data, m.Unfinished))
		if m.Local.String() != tcp || m.Time.IsZero() {
			t.Errorf("message %+v", m)
		}
	}
	want := []string{
		fmt.Sprintf(`tcp %v "one" false`, a), fmt.Sprintf(`tcp %v "two" false`, a), fmt.Sprintf(`tcp %v "" false`, a),
		fmt.Sprintf(`tcp %v "last without end" true`, a), fmt.Sprintf(`tcp %v "from another" false`, b),
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if n := len(sink.connections); n != 4 || sink.connections[n-1].Ending != sock.ByPeer {
		t.Errorf("connections: %+v", sink.connections)
	}
}

func TestDatagrams(t *testing.T) {
	sink := newKept()
	_, udp, stop := serveBoth(t, &Server{Sink: sink})
	big := strings.Repeat("x", 60_000)
	from := send(t, "udp", udp.String(), "two\nlines", "", big)
	for _, want := range []string{"two\nlines", "", big} {
		m := <-sink.got
		if m.Proto != probe.UDP || m.Peer.String() != from.String() || m.Local != udp || string(m.Data) != want || m.Truncated {
			t.Errorf("got %v bytes from %v to %v", len(m.Data), m.Peer, m.Local)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestCountEndsTheServer(t *testing.T) {
	sink := newKept()
	s := &Server{Sink: sink, Count: 3, Limits: serve.Limits{Grace: time.Hour}}
	sockets, err := serve.Bind(t.Context(), serve.Want{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, TCP: true, UDP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sockets.Close()
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), sockets.TCP, []Conn{sockets.UDP[0]}) }()
	c, err := net.Dial("tcp", sockets.TCP[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // stays open: the end waits for nobody
	_, _ = c.Write([]byte("one\n"))
	<-sink.got
	send(t, "udp", sockets.UDP[0].LocalAddr().String(), "two")
	<-sink.got
	_, _ = c.Write([]byte("three\nfour\nfive"))
	if err := <-served; err != nil {
		t.Error(err)
	}
	if len(sink.messages) != 3 || string(sink.messages[2].Data) != "three" {
		t.Errorf("got %d messages", len(sink.messages))
	}
	if e := sink.connections[len(sink.connections)-1]; e.Cut || !errors.Is(e.Err, ErrEnough) {
		t.Errorf("the connection ended as %+v", e)
	}
}

func TestSinkThatFailsEndsTheServer(t *testing.T) {
	sink := newKept()
	sink.fail = errors.New("disk full")
	s := &Server{Sink: sink, Limits: serve.Limits{Grace: time.Hour}}
	sockets, err := serve.Bind(t.Context(), serve.Want{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, TCP: true, UDP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sockets.Close()
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), sockets.TCP, []Conn{sockets.UDP[0]}) }()
	send(t, "tcp", sockets.TCP[0].Addr().String(), "one\ntwo\n")
	if err := <-served; !errors.Is(err, sink.fail) || len(sink.messages) != 1 {
		t.Errorf("%v after %d messages", err, len(sink.messages))
	}
}

func TestOnceEndsAfterOneConnection(t *testing.T) {
	sink := newKept()
	tcp, _, _ := serveBoth(t, &Server{Sink: sink, Limits: serve.Limits{Once: true}})
	send(t, "tcp", tcp, "hello\n")
	<-sink.got
}

func TestRawIsExact(t *testing.T) {
	var out bytes.Buffer
	text := "no newline\x00\xff\n\nat the end"
	s := &Server{Sink: Raw{&out}, Raw: true, Limits: serve.Limits{Once: true}}
	sockets, err := serve.Bind(t.Context(), serve.Want{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), sockets.TCP, nil) }()
	send(t, "tcp", sockets.TCP[0].Addr().String(), text)
	if err := <-served; err != nil || out.String() != text {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// With Raw a message over TCP is a whole connection, and no other gets in between.
func TestRawCountIsOfConnections(t *testing.T) {
	sink := newKept()
	var events []serve.Event
	s := &Server{Sink: sink, Raw: true, Count: 2, Event: func(e serve.Event) { events = append(events, e) }, Limits: serve.Limits{Grace: time.Hour}}
	sockets, err := serve.Bind(t.Context(), serve.Want{Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, TCP: true, UDP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sockets.Close()
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), sockets.TCP, []Conn{sockets.UDP[0]}) }()
	addr := sockets.TCP[0].Addr().String()
	send(t, "udp", sockets.UDP[0].LocalAddr().String(), "datagram ")
	<-sink.got
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("first "))
	<-sink.got
	late, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Close() }()
	if n, err := late.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("who is not wanted reads %d bytes, %v", n, err)
	}
	_, _ = late.Write([]byte("second"))
	send(t, "udp", sockets.UDP[0].LocalAddr().String(), "datagram too many")
	_, _ = c.Write([]byte("and its end"))
	_ = c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	var got strings.Builder
	for _, m := range sink.messages {
		got.Write(m.Data)
	}
	if got.String() != "datagram first and its end" {
		t.Errorf("got %q", got.String())
	}
	for _, e := range events {
		wanted := e.Peer.String() == c.LocalAddr().String()
		if e.Cut || e.Kind == serve.Ended && errors.Is(e.Err, ErrEnough) == wanted {
			t.Errorf("event %+v", e)
		}
	}
}

// TestLines: for any stream in any chunks the messages are its lines, long ones in parts of at
// most MaxLine, and what is held is never more than that.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream, got []byte
		for _, n := range rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 5, MaxLine - 1, MaxLine, MaxLine + 1, 3*MaxLine + 7}), 0, 6).Draw(t, "lines") {
			stream = append(append(stream, bytes.Repeat([]byte{'x'}, n)...), '\n')
		}
		stream = append(stream, bytes.Repeat([]byte{'y'}, rapid.SampledFrom([]int{0, 1, MaxLine, 2*MaxLine + 1}).Draw(t, "rest"))...)
		chunk := rapid.SampledFrom([]int{1000, 16384, MaxLine, MaxLine + 1, 1 << 20}).Draw(t, "chunk")
		l := lines{room: newRoom(mostHeld), emit: func(m Message) error {
			if len(m.Data) > MaxLine || m.Split && len(m.Data) < MaxLine || bytes.IndexByte(m.Data, '\n') >= 0 {
				t.Fatalf("a message of %d bytes, split %v", len(m.Data), m.Split)
			}
			got = append(got, m.Data...)
			if !m.Split && !m.Unfinished {
				got = append(got, '\n')
			}
			return nil
		}}
		for rest := stream; len(rest) > 0; {
			n := min(chunk, len(rest))
			if err := l.take(rest[:n]); err != nil || len(l.part) > MaxLine {
				t.Fatalf("%d bytes held, %v", len(l.part), err)
			}
			rest = rest[n:]
		}
		if err := l.finish(); err != nil || !bytes.Equal(got, stream) {
			t.Fatalf("%d bytes came out of %d", len(got), len(stream))
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), 2)
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		chunk = max(1, chunk)
		var got []string
		l := lines{room: newRoom(mostHeld), emit: func(m Message) error {
			got = append(got, string(m.Data))
			return nil
		}}
		for rest := stream; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
			_ = l.take(rest[:min(chunk, len(rest))])
		}
		_ = l.finish()
		want := strings.Split(string(stream), "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		if len(stream) < MaxLine && strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q became %q", stream, got)
		}
	})
}

var sample = Message{
	Proto: probe.UDP, Peer: netip.MustParseAddrPort("192.0.2.1:5000"), Local: netip.MustParseAddrPort("[::1]:9998"),
	Time: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
}

func TestText(t *testing.T) {
	forged := "hello\n15:04:05.000 tcp 10.0.0.1:1: forged \x1b[2J\u009b\u202e"
	for want, change := range map[string]func(*Message){
		"03:04:05.678 udp 192.0.2.1:5000, 0 bytes: \n":                func(*Message) {},
		"03:04:05.678 udp 192.0.2.1:5000, 1 byte, truncated: x\n":     func(m *Message) { m.Data, m.Truncated = []byte("x"), true },
		"03:04:05.678 tcp 192.0.2.1:5000: x\n":                        func(m *Message) { m.Proto, m.Data = probe.TCP, []byte("x") },
		"03:04:05.678 tcp 192.0.2.1:5000, line split here: x\n":       func(m *Message) { m.Proto, m.Data, m.Split = probe.TCP, []byte("x"), true },
		"03:04:05.678 tcp 192.0.2.1:5000, no newline at the end: x\n": func(m *Message) { m.Proto, m.Data, m.Unfinished = probe.TCP, []byte("x"), true },
	} {
		m := sample
		change(&m)
		var out strings.Builder
		if err := (Text{&out}).Message(m); err != nil || out.String() != want {
			t.Errorf("%q, want %q; %v", out.String(), want, err)
		}
	}
	m := sample
	m.Data = []byte(forged)
	var out strings.Builder
	_ = Text{&out}.Message(m)
	if strings.Count(out.String(), "\n") != 1 || strings.ContainsAny(out.String(), "\x1b\u009b\u202e") {
		t.Errorf("a peer forged %q", out.String())
	}
}

func TestJSON(t *testing.T) {
	for _, data := range []string{"", "plain", "\x00\xff\n\"\\", "\x1b[2J\x7f\u009b\u202e\u2028"} {
		m := sample
		m.Data, m.Truncated = []byte(data), true
		var out strings.Builder
		if err := (JSON{&out}).Message(m); err != nil {
			t.Fatal(err)
		}
		var o map[string]any
		if err := json.Unmarshal([]byte(out.String()), &o); err != nil {
			t.Fatalf("%s: %v", out.String(), err)
		}
		exact, err := base64.StdEncoding.DecodeString(o["data_b64"].(string))
		if err != nil || string(exact) != data || o["data"] != strings.ToValidUTF8(data, "\ufffd") {
			t.Errorf("%q became %q, %q", data, o["data"], exact)
		}
		if o["type"] != "message" || o["proto"] != "udp" || o["peer"] != "192.0.2.1:5000" || o["local"] != "[::1]:9998" ||
			o["size"] != float64(len(data)) || o["truncated"] != true || o["time"] != "2026-01-02T03:04:05.678Z" {
			t.Errorf("object %v", o)
		}
		if strings.ContainsAny(out.String(), "\x1b\x7f\u009b\u202e") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("a terminal would obey %q", out.String())
		}
	}
}

func TestJSONConnections(t *testing.T) {
	var out strings.Builder
	j := JSON{&out}
	e := serve.Event{Kind: serve.Opened, Peer: sample.Peer, Local: sample.Local, Time: sample.Time}
	_ = j.Listening(probe.TCP, sample.Local)
	_ = j.Connection(e)
	e.Kind, e.In, e.Duration, e.Ending, e.Err = serve.Ended, 5, 1500*time.Millisecond, sock.Reset, errors.New("connection reset")
	_ = j.Connection(e)
	want := `{"type":"listening","proto":"tcp","local":"[::1]:9998"}
{"type":"opened","proto":"tcp","peer":"192.0.2.1:5000","local":"[::1]:9998","time":"2026-01-02T03:04:05.678Z"}
{"type":"closed","proto":"tcp","peer":"192.0.2.1:5000","local":"[::1]:9998","time":"2026-01-02T03:04:05.678Z","size":5,"duration_s":1.5,"ending":"reset","error":"connection reset"}
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// TestUnfinishedLinesAreBounded: over all connections; what there is no room for is told in parts, and nothing is lost.
func TestUnfinishedLinesAreBounded(t *testing.T) {
	const peers, size, chunk = 100, 60_000, 1000
	r := newRoom(1 << 20)
	var got [peers]int
	var ended, split int
	all := make([]*lines, peers)
	for i := range all {
		all[i] = &lines{room: r, emit: func(m Message) error {
			got[i] += len(m.Data)
			switch {
			case m.Split:
				split++
			default:
				ended++
			}
			return nil
		}}
	}
	for range size / chunk {
		for _, l := range all {
			if err := l.take(make([]byte, chunk)); err != nil {
				t.Fatal(err)
			}
		}
		held := 0
		for _, l := range all {
			held += cap(l.part)
		}
		if held > 1<<20 || int64(held)+r.left.Load() != 1<<20 {
			t.Fatalf("%d bytes are held, there is room for %d more", held, r.left.Load())
		}
	}
	for i, l := range all {
		if err := l.take([]byte("\n")); err != nil || got[i] != size {
			t.Errorf("of peer %d %d bytes were told, %v", i, got[i], err)
		}
	}
	if ended != peers || split == 0 || r.left.Load() != 1<<20 {
		t.Errorf("%d lines ended, %d parts before; room for %d is left", ended, split, r.left.Load())
	}
}

// TestKernelDropsAreTold: what the kernel dropped while the Sink kept us from reading is told once we read again.
func TestKernelDropsAreTold(t *testing.T) {
	if !sock.Gathers {
		t.Skip("this system does not count them")
	}
	u, err := sock.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Close() }()
	var lost []int
	in := intake{run: &run{Server: &Server{Sink: newKept(), Lost: func(n int) { lost = append(lost, n) }}}, conns: []Conn{u}, drops: make([]uint32, 1)}
	flood(t, u.LocalAddr())
	ds := make([]sock.Datagram, 8)
	n, err := u.ReadBatch(ds)
	if err != nil {
		t.Fatal(err)
	}
	if wake := in.handle(0, ds[:n]); time.Until(wake) <= 0 || time.Until(wake) > lookEvery || len(lost) > 0 {
		t.Errorf("it will look at %v; told %v", wake, lost)
	}
	in.next = time.Now()
	if wake := in.handle(serve.NoPlace, nil); !wake.IsZero() {
		t.Errorf("an idle server wakes at %v", wake)
	}
	if drops, err := u.Drops(); err != nil || drops == 0 || len(lost) != 1 || lost[0] != int(drops) {
		t.Errorf("%d drops, %v; told %v", drops, err, lost)
	}
}

func flood(t *testing.T, to netip.AddrPort) {
	t.Helper()
	c, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for range 3000 {
		_, _ = c.Write(make([]byte, 1000))
	}
}

// TestEachIsToldOncePerInterval: of drops and of failed reads the first is told at once, the others together.
func TestEachIsToldOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost, missed []int
		s := &Server{Sink: newKept(), Lost: func(n int) { lost = append(lost, n) }, Missed: func(n int, _ error) { missed = append(missed, n) }}
		c := new(dropping)
		in := intake{run: &run{Server: s}, conns: []Conn{c}, drops: make([]uint32, 1)}
		begin := time.Now()
		var wake time.Time
		for range 5 {
			c.drops += 10
			in.trouble(io.ErrUnexpectedEOF)
			in.handle(0, nil)
			time.Sleep(lookEvery)
			wake = in.handle(serve.NoPlace, nil)
		}
		for !wake.IsZero() {
			time.Sleep(time.Until(wake))
			wake = in.handle(serve.NoPlace, nil)
		}
		if fmt.Sprint(lost, missed) != "[10 40] [1 4]" || time.Since(begin) != lookEvery+serve.NoticeInterval {
			t.Errorf("lost %v, missed %v, after %v", lost, missed, time.Since(begin))
		}
	})
}

// A dropping is a socket whose kernel drops.
type dropping struct {
	Conn
	drops uint32
}

func (d *dropping) Drops() (uint32, error) { return d.drops, nil }
