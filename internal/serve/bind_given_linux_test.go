package serve

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"sonde/internal/sock"
)

// givenEnv makes the test's own program tell what it was given.
const givenEnv = "SONDE_TEST_GIVEN"

// The program that is given sockets: it says what they are, and does a round trip on each that is UDP's.
func TestGivenChild(t *testing.T) {
	if os.Getenv(givenEnv) == "" {
		t.Skip("for TestGiven")
	}
	s, err := Given()
	if err != nil {
		t.Log("given: error:", err)
		return
	}
	if s == nil {
		t.Log("given: nothing")
		return
	}
	defer s.Close()
	for _, l := range s.TCP {
		t.Log("given: tcp", l.Addr())
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	for _, u := range s.UDP {
		t.Log("given: udp", u.LocalAddr())
		ds := make([]sock.Datagram, 4)
		n, err := u.ReadBatch(ds)
		if err == nil {
			_, err = u.WriteBatch(ds[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if again, err := Given(); again != nil || err != nil || os.Getenv("LISTEN_FDS") != "" {
		t.Errorf("asked again: %v, %v", again, err)
	}
}

// give runs the child with descriptors from 3 on, as systemd does, and returns what it says. Only the process itself knows its id
// in time, so a shell sets it and becomes the child.
func give(t *testing.T, files ...*os.File) (said func() string) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(sh, "-c", `LISTEN_PID=$$ exec "$@"`, "sh", os.Args[0], "-test.run=^TestGivenChild$", "-test.v")
	cmd.Env = append(os.Environ(), givenEnv+"=1", "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES=one:two")
	cmd.ExtraFiles = files
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, out.String())
		}
		var lines []string
		for line := range strings.Lines(out.String()) {
			if _, what, ok := strings.Cut(strings.TrimSpace(line), "given: "); ok {
				lines = append(lines, what)
			}
		}
		return strings.Join(lines, "\n")
	}
}

func fileOf(t *testing.T, c interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestGiven(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	said := give(t, fileOf(t, l.(*net.TCPListener)), fileOf(t, u))
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, u.LocalAddr().String())
	if got, want := said(), "tcp "+l.Addr().String()+"\nudp "+u.LocalAddr().String(); got != want {
		t.Errorf("it was given %q, want %q", got, want)
	}
}

// roundTrip sends a datagram and waits for its echo.
func roundTrip(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 10)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// TestGivenForBothFamilies: systemd's [::] takes IPv4 too, unless it is told otherwise.
func TestGivenForBothFamilies(t *testing.T) {
	u, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	port := strconv.Itoa(u.LocalAddr().(*net.UDPAddr).Port)
	for _, host := range []string{"127.0.0.1", "::1"} {
		said := give(t, fileOf(t, u))
		roundTrip(t, net.JoinHostPort(host, port))
		if got := said(); !strings.HasPrefix(got, "udp [::]:") {
			t.Errorf("it was given %q", got)
		}
	}
}

func TestGivenOtherThings(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: t.TempDir() + "/socket"})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for words, f := range map[string]*os.File{"is a connection": fileOf(t, c.(*net.TCPConn)), "is neither TCP's nor UDP's": fileOf(t, local), "is no socket": null} {
		got := give(t, fileOf(t, l.(*net.TCPListener)), f)()
		if !strings.HasPrefix(got, `error: socket 2 of 2 that this process was given ("two") `+words) {
			t.Errorf("%s: %q", words, got)
		}
	}
	if got := give(t)(); got != "nothing" {
		t.Errorf("without sockets: %q", got)
	}
}
