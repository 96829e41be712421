package serve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/sock"
	"sonde/internal/sock/socktest"
)

// A moody reader fails now and then, as sockets do on some systems after an ICMP error.
type moody struct {
	*socktest.Conn
	moods []error
}

func (m *moody) ReadBatch(ds []sock.Datagram) (int, error) {
	if len(m.moods) > 0 {
		err := m.moods[0]
		m.moods = m.moods[1:]
		return 0, err
	}
	return m.Conn.ReadBatch(ds)
}

func TestReceiverSurvivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network socktest.Network
		c, err := network.Listen(netip.MustParseAddrPort("10.0.0.1:7"))
		if err != nil {
			t.Fatal(err)
		}
		odd := errors.New("connection refused, by somebody else")
		ctx, cancel := context.WithCancel(t.Context())
		got, troubles, wakes := 0, 0, 0
		r := Receiver{
			Handle: func(_ int, ds []sock.Datagram) time.Time {
				got += len(ds)
				if len(ds) == 0 {
					wakes++
					return time.Time{}
				}
				return time.Now().Add(time.Minute)
			},
			Trouble: func(error) { troubles++ },
		}
		ended := make(chan error)
		go func() { ended <- r.Receive(ctx, &moody{c, []error{odd, odd, odd}}) }()
		network.Send(netip.MustParseAddrPort("10.0.0.2:7"), c.LocalAddr(), nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got != 1 || troubles != 3 || wakes != 1 {
			t.Errorf("%d datagrams, %d troubles, %d wakes", got, troubles, wakes)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestReceiverEndsWithItsSocket(t *testing.T) {
	u, err := sock.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	_ = u.Close()
	r := Receiver{Handle: func(int, []sock.Datagram) time.Time { return time.Time{} }}
	if err := r.Receive(t.Context(), u); !errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestReceiverOfMany: one receiver serves several conns, real or not, one call at a time.
func TestReceiverOfMany(t *testing.T) {
	var network socktest.Network
	var sockets, memory []PacketReader
	var at []netip.AddrPort
	for i := range 3 {
		u, err := sock.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = u.Close() }()
		c, err := network.Listen(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1+i)))
		if err != nil {
			t.Fatal(err)
		}
		sockets, memory, at = append(sockets, u), append(memory, c), append(at, u.LocalAddr())
	}
	for _, conns := range [][]PacketReader{sockets, memory} {
		ctx, cancel := context.WithCancel(t.Context())
		heard, busy := map[int]int{}, false
		ended := make(chan error)
		r := Receiver{Handle: func(place int, ds []sock.Datagram) time.Time {
			if busy {
				t.Error("two calls at a time")
			}
			busy = true
			heard[place] += len(ds)
			if len(heard) == 3 {
				cancel()
			}
			busy = false
			return time.Time{}
		}}
		go func() { ended <- r.Receive(ctx, conns...) }()
		for i := range conns {
			network.Send(netip.MustParseAddrPort("10.0.0.2:9"), netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1+i)), nil)
			if _, err := sockets[(i+1)%3].(*sock.UDP).WriteBatch([]sock.Datagram{{Peer: at[i]}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-ended; err != nil || len(heard) != 3 {
			t.Errorf("heard %v, %v", heard, err)
		}
	}
}
