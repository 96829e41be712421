package lab_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sonde/internal/lab"
	"sonde/internal/probe"
)

func TestMain(m *testing.M) {
	lab.Main()
	goleak.VerifyTestMain(m)
}

const (
	long  = 10 * time.Second       // for what must come
	short = 300 * time.Millisecond // for what must not

	attempt = 900 * time.Millisecond // for either, before the kernel sends its SYN again
)

func dial(network string, addr netip.Addr, port uint16, patience time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, Control: hearErrors}
	return d.Dial(network, netip.AddrPortFrom(addr, port).String())
}

// connect returns what connecting to a port ends with: nil or the errno, ETIMEDOUT for our own deadline.
func connect(addr netip.Addr, port uint16, patience time.Duration) error {
	conn, err := dial("tcp", addr, port, patience)
	if err == nil {
		return conn.Close()
	}
	return errnoOf(err)
}

func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return syscall.ETIMEDOUT
	}
	return err
}

// ask sends one datagram and returns the reply, or the errno.
func ask(addr netip.Addr, port uint16, text string, patience time.Duration) (string, error) {
	conn, err := dial("udp", addr, port, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", errnoOf(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	if err != nil {
		return "", errnoOf(err)
	}
	return string(buf[:n]), nil
}

// hearErrors has a socket tell every ICMP error at once: a datagram socket else tells only that a port is unreachable, and
// one that connects hears nothing of an error that comes before connect(2) returns, as it can here (ip(7), IP_RECVERR).
func hearErrors(network, _ string, raw syscall.RawConn) error {
	level, option := syscall.IPPROTO_IP, syscall.IP_RECVERR
	if strings.HasSuffix(network, "6") {
		level, option = syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR
	}
	var failed error
	err := raw.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, failed)
}

// both runs test for the host's two addresses.
func both(t *testing.T, host *lab.Host, test func(t *testing.T, addr netip.Addr)) {
	t.Helper()
	t.Run("ipv4", func(t *testing.T) { test(t, host.IPv4) })
	t.Run("ipv6", func(t *testing.T) { test(t, host.IPv6) })
}

func TestPorts(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{
		Listen: []lab.Listener{{Ports: lab.Range(1000, 1999)}},
		Rules:  []lab.Rule{{Ports: lab.Port(30), Do: lab.Drop}, {Proto: probe.UDP, Ports: lab.Port(30), Do: lab.Drop}},
	})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		for port := uint16(1000); port < 2000; port++ {
			if err := connect(addr, port, long); err != nil {
				t.Fatalf("port %d of 1,000 open ones: %v", port, err)
			}
		}
		if err := connect(addr, 999, long); err != syscall.ECONNREFUSED {
			t.Errorf("closed port: %v", err)
		}
		if err := connect(addr, 30, short); err != syscall.ETIMEDOUT {
			t.Errorf("dropped port: %v", err)
		}
		if _, err := ask(addr, 999, "x", long); err != syscall.ECONNREFUSED {
			t.Errorf("closed udp port: %v", err)
		}
		if _, err := ask(addr, 30, "x", short); err != syscall.ETIMEDOUT {
			t.Errorf("dropped udp port: %v", err)
		}
	})
}

func TestServices(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	host := net.Host(t, lab.Config{Listen: []lab.Listener{
		{Ports: lab.Port(1), Do: lab.Echo},
		{Ports: lab.Port(2), Do: lab.Hangup, Banner: []byte("220 hello \xff\r\n")},
		{Ports: lab.Port(3), Do: lab.Abort},
		{Ports: lab.Port(4), Do: lab.Hold},
		{Proto: probe.UDP, Ports: lab.Port(1), Do: lab.Echo},
		{Proto: probe.UDP, Ports: lab.Port(4), Do: lab.Hold},
	}})
	both(t, host, func(t *testing.T, addr netip.Addr) {
		if heard, err := tell(addr, 1, "to and fro"); heard != "to and fro" || err != nil {
			t.Errorf("echo: %q, %v", heard, err)
		}
		if heard, err := tell(addr, 2, ""); heard != "220 hello \xff\r\n" || err != nil {
			t.Errorf("banner and hang-up: %q, %v", heard, err)
		}
		if _, err := tell(addr, 3, ""); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("abort: %v", err)
		}
		if heard, err := tell(addr, 4, "nobody answers"); heard != "" || err != nil {
			t.Errorf("hold: %q, %v", heard, err)
		}
		for _, text := range []string{"datagram", "", string(bytes.Repeat([]byte("x"), 20000))} {
			if heard, err := ask(addr, 1, text, long); heard != text || err != nil {
				t.Errorf("udp echo of %d bytes: %d bytes, %v", len(text), len(heard), err)
			}
		}
		if heard, err := ask(addr, 4, "x", short); err != syscall.ETIMEDOUT {
			t.Errorf("udp hold: %q, %v", heard, err)
		}
	})
}

// tell sends text and its end, and returns all that comes back until the peer's.
func tell(addr netip.Addr, port uint16, text string) (string, error) {
	conn, err := dial("tcp", addr, port, long)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(long)); err != nil {
		return "", err
	}
	if text != "" {
		if _, err := io.WriteString(conn, text); err != nil {
			return "", err
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return "", err
		}
	}
	heard, err := io.ReadAll(conn)
	return string(heard), err
}

// TestEverythingGoes looks for what a subtest's hosts leave behind.
func TestEverythingGoes(t *testing.T) {
	t.Parallel()
	net := lab.Enter(t)
	if net == nil {
		return
	}
	before := children(t)
	t.Run("hosts", func(t *testing.T) {
		host := net.Host(t, lab.Config{Listen: []lab.Listener{{Ports: lab.Port(80), Do: lab.Echo}}})
		host.Behind(t, lab.Config{})
		if now := children(t); len(now) != len(before)+2 {
			t.Errorf("%d children with two hosts up, %d before", len(now), len(before))
		}
	})
	if left := children(t); len(left) != len(before) {
		t.Errorf("processes left: %v", left)
	}
	if left := devices(t); len(left) != 1 {
		t.Errorf("devices left: %v, want loopback alone", left)
	}
	if err := goleak.Find(goleak.IgnoreCurrent()); err != nil {
		t.Error(err)
	}
}

func children(t *testing.T) []string {
	t.Helper()
	var all []string
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		pids, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%s/children", task.Name()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(pids))...)
	}
	return all
}

func devices(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}
