package socktest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"sonde/internal/sock"
)

func listen(t *testing.T, n *Network, addr string) *Conn {
	t.Helper()
	c, err := n.Listen(netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDatagramsTravel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Network{Delay: 10 * time.Millisecond}
		a, b := listen(t, n, "10.0.0.1:1000"), listen(t, n, "0.0.0.0:2000")
		start := time.Now()
		to := netip.MustParseAddrPort("10.0.0.9:2000")
		sent := []sock.Datagram{{Peer: to, Data: []byte("one")}, {Peer: to}, {Peer: netip.MustParseAddrPort("10.0.0.9:3000")}}
		if k, err := a.WriteBatch(sent); k != 3 || err != nil {
			t.Fatal(k, err)
		}
		ds := make([]sock.Datagram, 8)
		for got := 0; got < 2; {
			k, err := b.ReadBatch(ds[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
		if time.Since(start) != n.Delay {
			t.Errorf("travelled %v", time.Since(start))
		}
		if d := ds[0]; d.Peer != a.LocalAddr() || d.Local != to || string(d.Data)+string(ds[1].Data) != "one" {
			t.Errorf("received %+v", ds[:2])
		}
		synctest.Wait()
		if n.Carried() != 3 {
			t.Errorf("carried %d", n.Carried())
		}
	})
}

func TestReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(Network)
		c := listen(t, n, "[fe80::1]:7")
		read := func() error {
			_, err := c.ReadBatch(make([]sock.Datagram, 1))
			return err
		}
		ended := make(chan error)
		go func() { ended <- read() }()
		synctest.Wait()
		_ = c.SetReadDeadline(time.Now().Add(time.Hour)) // for the read that waits, too
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = c.SetReadDeadline(time.Time{})
		go func() { ended <- read() }()
		synctest.Wait()
		_ = c.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		listen(t, n, "[fe80::1]:7")
		if _, err := n.Listen(c.LocalAddr()); err == nil {
			t.Error("one address was bound twice")
		}
	})
}
