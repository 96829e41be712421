package talk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/internal/dial"
	"sonde/internal/sock"
)

// maxPayload is the most that one IPv4 datagram carries.
var maxPayload = dial.MaxPayload(netip.IPv4Unspecified())

// recorder is a Printer that keeps each reply.
type recorder struct{ replies []string }

func (r *recorder) Print(reply Reply) (bool, error) {
	text := string(reply.Data)
	if reply.Truncated {
		text += " (truncated)"
	}
	r.replies = append(r.replies, text)
	return false, nil
}

func (*recorder) Flush() error { return nil }

// answer answers each datagram that peer gets with what reply makes of it.
func answer(t *testing.T, peer *net.UDPConn, reply func([]byte) [][]byte) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := peer.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, r := range reply(buf[:n]) {
				_, _ = peer.WriteToUDPAddrPort(r, from)
			}
		}
	}()
	t.Cleanup(func() { peer.Close(); <-done })
}

func same(d []byte) [][]byte { return [][]byte{d} }

// nobody returns a socket of ours that talks to a port where nobody listens.
func nobody(t *testing.T) *net.UDPConn {
	t.Helper()
	ours, peer := udpPeer(t)
	peer.Close()
	return ours
}

func TestDatagramsAreLines(t *testing.T) {
	ours, peer := udpPeer(t)
	answer(t, peer, same)
	var out recorder
	s := Conversation{Wait: 200 * time.Millisecond}.Datagrams(context.Background(), ours, input("one\n\nthree"), &out)
	if s.Ending != sock.ByUs {
		t.Error(s)
	}
	if diff := cmp.Diff([]string{"one\n", "\n", "three"}, out.replies); diff != "" {
		t.Error(diff)
	}
	wantContains(t, s.String(), "sent 10 bytes in 3 datagrams, received 10 bytes in 3 datagrams in ")
}

func TestDatagramsOfZeroBytesCount(t *testing.T) {
	ours, peer := udpPeer(t)
	answer(t, peer, func([]byte) [][]byte { return [][]byte{{}, []byte("x"), {}} })
	var out recorder
	s := Conversation{One: true, Wait: 200 * time.Millisecond}.Datagrams(context.Background(), ours, input(""), &out)
	if diff := cmp.Diff([]string{"", "x", ""}, out.replies); diff != "" || s.Ending != sock.ByUs {
		t.Error(s, diff)
	}
	if want := (Count{Messages: 1, Empty: 1}); s.Sent != want {
		t.Errorf("sent %+v", s.Sent)
	}
	wantContains(t, s.String(), "received 1 byte in 3 datagrams (2 empty)")
}

func TestDatagramsTellTruncation(t *testing.T) {
	ours, peer := udpPeer(t)
	answer(t, peer, same)
	var out recorder
	c := Conversation{Wait: 200 * time.Millisecond, bufferSize: 4}
	s := c.Datagrams(context.Background(), ours, input("123456\n12\n"), &out)
	if diff := cmp.Diff([]string{"1234 (truncated)", "12\n"}, out.replies); diff != "" {
		t.Error(diff)
	}
	wantContains(t, s.String(), "(1 truncated)")
}

func TestDatagramOfTheWholeInput(t *testing.T) {
	for _, size := range []int{0, 1, 1500, maxPayload} {
		ours, peer := udpPeer(t)
		answer(t, peer, same)
		text := strings.Repeat("\n", size)
		var out bytes.Buffer
		s := Conversation{One: true, Wait: 200 * time.Millisecond}.Datagrams(context.Background(), ours, input(text), Exact{&out})
		if s.Ending != sock.ByUs || out.String() != text || s.Received.Messages != 1 {
			t.Errorf("%d bytes: %v", size, s)
		}
	}
}

func TestDatagramsRefuseWhatDoesNotFit(t *testing.T) {
	long := strings.Repeat("x", maxPayload)
	for _, c := range []struct {
		name, text, want string
		one              bool
		sent             int64
	}{
		{"whole", long + "x", "the input is longer than the 65507 bytes that fit one datagram", true, 0},
		{"line", "a\n" + long + "\nb\n", "line 2 is longer than the 65507 bytes that fit one datagram", false, 1},
		{"last line", long + "x", "line 1 is longer than the 65507 bytes that fit one datagram", false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, _ := udpPeer(t)
			s := Conversation{One: c.one}.Datagrams(context.Background(), ours, input(c.text), Exact{io.Discard})
			var tooLong *TooLongError
			if s.Ending != sock.Failed || !errors.As(s.Err, &tooLong) || tooLong.Error() != c.want || s.Sent.Messages != c.sent {
				t.Errorf("%v: %v", s, s.Err)
			}
		})
	}
}

func TestDatagramsTellSilence(t *testing.T) {
	ours, _ := udpPeer(t)
	s := Conversation{Wait: time.Millisecond}.Datagrams(context.Background(), ours, input("x\n"), Exact{io.Discard})
	if s.Ending != sock.TimedOut {
		t.Error(s)
	}
	wantContains(t, s.String(), "no reply within 1ms: over UDP silence means nothing: lost, dropped, or a server that does not answer; sent 2 bytes")
}

func TestDatagramsWithoutInput(t *testing.T) {
	ours, _ := udpPeer(t)
	s := Conversation{Wait: time.Hour}.Datagrams(context.Background(), ours, input(""), Exact{io.Discard})
	if s.Ending != sock.ByUs || s.Sent.Messages != 0 {
		t.Error(s)
	}
}

func TestDatagramsWithoutPatience(t *testing.T) {
	ours, _ := udpPeer(t)
	s := Conversation{Wait: -1}.Datagrams(context.Background(), ours, input("x\n"), Exact{io.Discard})
	if s.Ending != sock.ByUs || s.Sent.Messages != 1 {
		t.Error(s)
	}
}

func TestDatagramsTellARefusal(t *testing.T) {
	s := Conversation{Wait: time.Hour}.Datagrams(context.Background(), nobody(t), input("x\n"), Exact{io.Discard})
	if s.Ending != sock.Reset || s.Refusals != 1 {
		t.Error(s)
	}
	wantContains(t, s.String(), "nobody listens there: ICMP port unreachable from ")
	if runtime.GOOS == "linux" {
		wantContains(t, s.String(), "from 127.0.0.1;")
	}
}

// Each datagram but the first meets the refusal of the one before it, in its write or in
// the read beside it. None may be lost to that.
func TestDatagramsThatARefusalKeptBackAreSentAgain(t *testing.T) {
	ours := nobody(t)
	in, typed := io.Pipe()
	n := newNotes()
	done := make(chan Summary, 1)
	go func() {
		done <- Conversation{Interactive: true, Note: n.add}.Datagrams(context.Background(), ours, in, Exact{io.Discard})
	}()
	for range 10 {
		_, _ = typed.Write([]byte("x\n"))
		<-n.told // this one's own
	}
	typed.Close()
	s := <-done
	if s.Ending != sock.Reset || s.Sent.Messages != 10 || s.Refusals != 10 {
		t.Error(s)
	}
}

func TestDatagramsWritesSurviveRefusals(t *testing.T) {
	s := Conversation{Wait: 100 * time.Millisecond}.Datagrams(context.Background(), nobody(t), input(strings.Repeat("x\n", 1000)), Exact{io.Discard})
	if s.Ending != sock.Reset || s.Sent.Messages != 1000 {
		t.Error(s)
	}
}

// The client before the server: what was refused is told, what comes after is answered.
func TestDatagramsReachAServerThatStartsLate(t *testing.T) {
	ours, peer := udpPeer(t)
	addr := peer.LocalAddr().(*net.UDPAddr)
	peer.Close()
	in, typed := io.Pipe()
	n := newNotes()
	var out recorder
	done := make(chan Summary, 1)
	go func() {
		done <- Conversation{Wait: 200 * time.Millisecond, Note: n.add}.Datagrams(context.Background(), ours, in, &out)
	}()
	_, _ = typed.Write([]byte("early\n"))
	wantContains(t, <-n.told, "nobody listens there")
	late, err := net.ListenUDP("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, late, same)
	_, _ = typed.Write([]byte("late\n"))
	typed.Close()
	s := <-done
	if diff := cmp.Diff([]string{"late\n"}, out.replies); diff != "" || s.Ending != sock.ByUs || s.Refusals != 1 {
		t.Error(s, diff)
	}
}

func TestDatagramsNoteAPersonsSilence(t *testing.T) {
	ours, _ := udpPeer(t)
	in, typed := io.Pipe()
	n := newNotes()
	done := make(chan Summary, 1)
	go func() {
		done <- Conversation{Interactive: true, Note: n.add}.Datagrams(context.Background(), ours, in, Exact{io.Discard})
	}()
	for range 2 {
		_, _ = typed.Write([]byte("x\n"))
		wantContains(t, <-n.told, "silence means nothing")
	}
	typed.Close()
	if s := <-done; s.Ending != sock.ByUs || len(n.all) != 2 {
		t.Errorf("%v; notes %q", s, n)
	}
}

func TestDatagramsEndWithTheirContext(t *testing.T) {
	ours, _ := udpPeer(t)
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := Conversation{}.Datagrams(ctx, ours, in, Exact{io.Discard})
	if s.Ending != sock.ByUs || !errors.Is(s.Err, context.Canceled) {
		t.Errorf("%v: %v", s, s.Err)
	}
}
