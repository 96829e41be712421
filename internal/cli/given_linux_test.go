package cli

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestActivation starts the program as systemd does: the sockets are its descriptors from 3 on, and LISTEN_PID is its own id, which
// only the process itself knows in time: a shell sets it and becomes the program.
func TestActivation(t *testing.T) {
	tcp, udp := socketsToGive(t)
	out, stop := activate(t, []*os.File{tcp.file, udp.file}, "echo")
	waitForText(t, out, "listening udp")
	want := "listening tcp " + tcp.addr + "\nlistening udp " + udp.addr + "\n"
	if got := out.String(); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	for network, addr := range map[string]string{"tcp": tcp.addr, "udp": udp.addr} {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 5)
		if _, err = c.Write([]byte("hello")); err == nil {
			_, err = io.ReadFull(c, buf)
		}
		if err != nil || string(buf) != "hello" {
			t.Errorf("over %s %q came back, %v", network, buf, err)
		}
	}
	if errOut, code := stop(); code != 0 {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

// TestActivationBesideOtherWords: what would name other sockets, or does not fit those given, is misuse.
func TestActivationBesideOtherWords(t *testing.T) {
	tcp, udp := socketsToGive(t)
	for _, test := range []struct {
		words string
		files []*os.File
		error string
	}{
		{"echo 7000", []*os.File{tcp.file}, `systemd gave the sockets, so "7000" cannot be the address as well`},
		{"echo --ports 1-10", []*os.File{tcp.file}, "systemd gave the sockets, so --ports cannot name others"},
		{"echo --udp", []*os.File{tcp.file}, "--udp, but systemd gave a TCP socket, " + tcp.addr},
		{"listen --tcp", []*os.File{udp.file}, "--tcp, but systemd gave a UDP socket, " + udp.addr},
		{"echo --tls", []*os.File{tcp.file, udp.file}, "TLS is over TCP, but systemd gave a UDP socket, " + udp.addr},
	} {
		_, stop := activate(t, test.files, strings.Fields(test.words)...)
		if errOut, code := stop(); code != exitMisused || !strings.Contains(errOut, "sonde: error: "+test.error+"\nsonde: hint: ") {
			t.Errorf("%s: exit %d: %s", test.words, code, errOut)
		}
	}
}

// A givenSocket is one that is bound for another program.
type givenSocket struct {
	file *os.File
	addr string
}

func socketsToGive(t *testing.T) (tcp, udp givenSocket) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	give := func(c interface{ File() (*os.File, error) }, addr net.Addr) givenSocket {
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return givenSocket{f, addr.String()}
	}
	tcp, udp = give(l.(*net.TCPListener), l.Addr()), give(u.(*net.UDPConn), u.LocalAddr())
	_, _ = l.Close(), u.Close() // the files keep them
	return tcp, udp
}

// activate runs the test binary as sonde with files. stop interrupts it, if it still runs, and returns what it said on stderr.
func activate(t *testing.T, files []*os.File, args ...string) (out *lockedBuffer, stop func() (string, int)) {
	t.Helper()
	sonde := filepath.Join(t.TempDir(), "sonde")
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, sonde)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", sonde}, args...)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS="+strconv.Itoa(len(files)))
	cmd.ExtraFiles = files
	out = new(lockedBuffer)
	var errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errOut
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return out, func() (string, int) {
		if strings.Contains(out.String(), "listening") {
			_ = cmd.Process.Signal(syscall.SIGINT)
		}
		select {
		case <-ended:
		case <-time.After(waitLimit):
			_ = cmd.Process.Kill()
			<-ended
		}
		return errOut.String(), cmd.ProcessState.ExitCode()
	}
}

func waitForText(t *testing.T, b *lockedBuffer, text string) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !strings.Contains(b.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", text, b.String())
		}
	}
}
