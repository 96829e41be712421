package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers for some addresses with their names, and that there is none for the others.
type nameServer struct {
	names map[string][]string // by what is asked for; nil: no answer at all

	mu    sync.Mutex
	asked map[string]int
}

// start serves on loopback until the test ends, and returns a resolver that asks nobody else.
func (s *nameServer) start(t *testing.T) *net.Resolver {
	t.Helper()
	s.asked = map[string]int{}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 512)
		for n, from, err := conn.ReadFrom(buf); err == nil; n, from, err = conn.ReadFrom(buf) {
			if reply := s.answer(buf[:n]); reply != nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = conn.Close() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func (s *nameServer) answer(query []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil || q.Type != dnsmessage.TypePTR {
		return nil
	}
	s.mu.Lock()
	s.asked[q.Name.String()]++
	s.mu.Unlock()
	names, known := s.names[q.Name.String()]
	if known && names == nil {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true}, Questions: []dnsmessage.Question{q}}
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, name := range names {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(name)},
		})
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}

func newTestReverse(t *testing.T, s *nameServer) *reverse {
	t.Helper()
	by := s.start(t)
	r := newReverseBy(t.Context(), by)
	t.Cleanup(r.close)
	r.patience = 20 * time.Second
	return r
}

func TestReverseNames(t *testing.T) {
	server := &nameServer{names: map[string][]string{
		"1.2.0.192.in-addr.arpa.": {"one.example."},
		"2.2.0.192.in-addr.arpa.": {"z.example.", "a.example."},
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa.": {"local.example."},
	}}
	r := newTestReverse(t, server)
	one, two, none := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	local := netip.MustParseAddr("fe80::1%lo")
	for range 3 {
		for _, a := range []netip.Addr{one, two, none, local} {
			r.want(a)
		}
	}
	if diff := cmp.Diff(map[netip.Addr]string{one: "one.example", two: "a.example", local: "local.example"}, r.known(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	for name, n := range server.asked {
		if n != 1 {
			t.Errorf("%s was asked for %d times", name, n)
		}
	}
	if again := r.known(); len(again) != 0 {
		t.Errorf("a span later: %v", again)
	}
}

// Thousands of addresses, from several goroutines, each have their names.
func TestReverseMany(t *testing.T) {
	server := &nameServer{names: map[string][]string{}}
	const n = 2000
	for i := range n {
		server.names[fmt.Sprintf("%d.%d.0.10.in-addr.arpa.", i%256, i/256)] = []string{fmt.Sprintf("host%d.example.", i)}
	}
	r := newTestReverse(t, server)
	var tellers sync.WaitGroup
	for k := range 4 {
		tellers.Go(func() {
			for i := k; i < n; i += 2 {
				r.want(netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i % 256)}))
			}
		})
	}
	tellers.Wait()
	known := r.known()
	for i := range n {
		if name := known[netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i % 256)})]; name != fmt.Sprintf("host%d.example", i) {
			t.Fatalf("%d is %q", i, name)
		}
	}
}

// A name server that does not answer costs one wait, not one for each span; what it said before is known all the same.
func TestReverseDeaf(t *testing.T) {
	silent := netip.MustParseAddr("192.0.2.9")
	server := &nameServer{names: map[string][]string{"1.2.0.192.in-addr.arpa.": {"one.example."}, "9.2.0.192.in-addr.arpa.": nil}}
	r := newTestReverse(t, server)
	one := netip.MustParseAddr("192.0.2.1")
	r.want(one)
	for _, answers, worth := r.underWay(); worth && answers == 0; _, answers, worth = r.underWay() {
		time.Sleep(time.Millisecond)
	}
	r.patience = 10 * time.Millisecond
	r.want(silent)
	if known := r.known(); known[one] != "one.example" || len(known) != 1 {
		t.Errorf("known %v", known)
	}
	if !r.deaf {
		t.Error("a wait in vain is not remembered")
	}
	r.patience = time.Hour
	r.want(silent)
	if known := r.known(); len(known) != 0 {
		t.Errorf("known %v", known)
	}
}

// close, and the end of the scan, end everything at once.
func TestReverseEnds(t *testing.T) {
	by := (&nameServer{names: map[string][]string{"9.2.0.192.in-addr.arpa.": nil}}).start(t)
	ignore := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	r := newReverseBy(ctx, by)
	r.patience = time.Hour
	r.want(netip.MustParseAddr("192.0.2.9"))
	time.AfterFunc(10*time.Millisecond, cancel)
	if known := r.known(); len(known) != 0 {
		t.Errorf("known %v", known)
	}
	r.close()
	r.want(netip.MustParseAddr("192.0.2.10"))
	goleak.VerifyNone(t, ignore)
	var none *reverse
	none.want(netip.MustParseAddr("192.0.2.9"))
	if none.known() != nil {
		t.Error("no reverse knows names")
	}
	none.close()
}
