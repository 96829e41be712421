package route

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestResolve(t *testing.T) {
	one, _ := town(t)
	if one == nil {
		return
	}
	for _, family := range []string{"ipv4", "ipv6"} { // three times a second apart is the kernel's default
		set(t, "net/"+family+"/neigh/lab1/retrans_time_ms", "100")
	}
	t.Run("privileged", testResolve)
	must(t, flushNeighbors())
	t.Run("unprivileged", func(t *testing.T) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // for good: the thread, without its capabilities, ends with the goroutine
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
				t.Error(err)
				return
			}
			testResolve(t)
		}()
		<-done
	})
}

func flushNeighbors() error {
	all, err := netlink.NeighList(0, 0)
	for _, n := range all {
		_ = netlink.NeighDel(&n)
	}
	return err
}

func testResolve(t *testing.T) {
	table, err := Open(Config{})
	if err != nil {
		t.Error(err)
		return
	}
	for a, want := range map[string]string{
		"8.8.8.8": "198.18.1.2", "203.0.113.1": "198.18.2.2", "2600::1": "fd00:1::2", "2001:db8:9000::": "fe80::2", "192.0.2.1": "fd00:2::2",
		"198.18.1.2": "198.18.1.2", "fe80::2%lab1": "fe80::2",
	} {
		h, err := table.Lookup(addr(a))
		if err != nil {
			t.Error(err)
			return
		}
		got, err := table.Resolve(t.Context(), h, addr(a))
		if err != nil || got == [6]byte{} || got == h.Link {
			t.Errorf("%s: %x, %v", a, got, err)
		}
		known, ok := table.Neighbor(h, addr(a))
		if !ok || known != got {
			t.Errorf("%s: %x and then %x %v", a, got, known, ok)
		}
		if known, ok = table.Neighbor(h, addr(want)); h.Gateway.IsValid() && (!ok || known != got) {
			t.Errorf("%s: %x and of its gateway %x %v", a, got, known, ok)
		}
	}
	h, err := table.Lookup(addr("198.18.1.77"))
	if err != nil {
		t.Error(err)
		return
	}
	if link, ok := table.Neighbor(h, addr("198.18.1.77")); ok {
		t.Errorf("nobody has %x", link)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := table.Resolve(ctx, h, addr("198.18.1.77")); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "198.18.1.77 on lab1") {
		t.Error(err)
	}
	if _, err := table.Resolve(t.Context(), h, addr("198.18.1.78")); !errors.Is(err, ErrNoNeighbor) {
		t.Error(err)
	}
}
