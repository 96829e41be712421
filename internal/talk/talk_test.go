package talk

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sonde/internal/dial"
	"sonde/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main()
	goleak.VerifyTestMain(m)
}

// input is an input that has all its text at once, and then ends.
func input(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

// tcpPair returns both ends of a connection on loopback.
func tcpPair(t *testing.T) (ours, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err = dial.Dialer{}.DialTCP(context.Background(), addrOf(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return ours, conn.(*net.TCPConn)
}

// udpPeer returns a socket on loopback, and one of ours that talks to it.
func udpPeer(t *testing.T) (ours, peer *net.UDPConn) {
	t.Helper()
	peer, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	ours, err = dial.Dialer{}.DialUDP(context.Background(), addrOf(peer.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	return ours, peer
}

func addrOf(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// notes collects what a conversation notes.
type notes struct {
	mu   sync.Mutex
	all  []string
	told chan string // each, if somebody listens
}

func newNotes() *notes { return &notes{told: make(chan string, 100)} }

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, text)
	n.told <- text
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.all, "\n")
}

// buffer is a bytes.Buffer that a test may read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func wantContains(t *testing.T, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%q does not contain %q", got, want)
	}
}
