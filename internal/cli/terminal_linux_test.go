package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A pty is a terminal with a program on it, and the test in a person's place.
type pty struct {
	*testing.T
	master, slave *os.File
	before        unix.Termios
	cmd           *exec.Cmd
	exited        chan struct{}
	state         string // XDG_STATE_HOME: where the history is

	mu     sync.Mutex
	more   *sync.Cond
	screen bytes.Buffer
}

// onPty runs sonde, which the test binary is under that name, on a terminal of its own.
func onPty(t *testing.T, args ...string) *pty { return onPtyFrom(t, nil, args...) }

// onPtyFrom gives it another input than the terminal.
func onPtyFrom(t *testing.T, in *os.File, args ...string) *pty {
	t.Helper()
	p := newPty(t)
	p.start(in, args...)
	return p
}

// newPty is one without a program.
func newPty(t *testing.T) *pty {
	t.Helper()
	p := &pty{T: t, exited: make(chan struct{}), state: t.TempDir()}
	p.more = sync.NewCond(&p.mu)
	p.open()
	p.before = p.termios()
	return p
}

func (p *pty) start(in *os.File, args ...string) {
	p.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.Fatal(err)
	}
	if in == nil {
		in = p.slave
	}
	p.cmd = &exec.Cmd{Path: exe, Args: append([]string{"sonde"}, args...), Stdin: in, Stdout: p.slave, Stderr: p.slave,
		Env:         append(os.Environ(), "XDG_STATE_HOME="+p.state),
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}} // so that Ctrl-Z does not stop the test
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	watched := make(chan struct{})
	go p.watch(watched)
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	p.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		_ = p.slave.Close()
		<-watched
		_ = p.master.Close()
	})
}

// open makes the terminal as ptmx(4) says.
func (p *pty) open() {
	p.Helper()
	var err error
	if p.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		p.Skipf("no terminals to be had: %v", err)
	}
	fd := int(p.master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		p.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		p.Fatal(err)
	}
	if p.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		p.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 200}); err != nil {
		p.Fatal(err)
	}
}

func (p *pty) termios() unix.Termios {
	p.Helper()
	state, err := unix.IoctlGetTermios(int(p.master.Fd()), unix.TCGETS)
	if err != nil {
		p.Fatal(err)
	}
	return *state
}

func (p *pty) isRaw() bool { return p.termios().Lflag&(unix.ICANON|unix.ECHO) == 0 }

// watch reads the screen until the last program has let go of the terminal.
func (p *pty) watch(done chan struct{}) {
	defer close(done)
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		p.mu.Lock()
		p.screen.Write(buf[:n])
		p.more.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *pty) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// await waits until the screen has shown what matches.
func (p *pty) await(pattern string) {
	p.Helper()
	re := regexp.MustCompile(pattern)
	late := time.AfterFunc(20*time.Second, p.more.Broadcast)
	defer late.Stop()
	start := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !re.Match(p.screen.Bytes()) {
		if time.Since(start) > 19*time.Second {
			p.Fatalf("the screen never showed %q, but %q", pattern, p.screen.String())
		}
		p.more.Wait()
	}
}

// awaitThat polls what no screen shows.
func (p *pty) awaitThat(what string, is func() bool) {
	p.Helper()
	for range 2000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.Fatalf("never: %s; the screen: %q", what, p.shown())
}

func (p *pty) keys(keys string) {
	p.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.Fatal(err)
	}
}

func (p *pty) signal(sig os.Signal) {
	p.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.Fatal(err)
	}
}

// wantExit waits for the end, and wants the terminal as it was.
func (p *pty) wantExit(code int) {
	p.Helper()
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.Fatalf("does not end; the screen: %q", p.shown())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.Errorf("exit %d, want %d; the screen: %q", got, code, p.shown())
	}
	if diff := cmp.Diff(p.before, p.termios()); diff != "" {
		p.Errorf("the terminal is not restored: %s", diff)
	}
}

// peer is a server for one client, in the test's hands.
func peer(t *testing.T) (addr string, accept func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), func() net.Conn {
		t.Helper()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func TestTalkRestoresTheTerminal(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*pty, net.Conn)
		code int
		says string
	}{
		{"exit", func(p *pty, c net.Conn) { p.keys("exit\r") }, 0, "we closed"},
		{"Ctrl-D", func(p *pty, c net.Conn) { p.keys("\x04") }, 0, "we closed"},
		{"Ctrl-C", func(p *pty, c net.Conn) { p.keys("half a line\x03") }, 130, `we closed \(interrupted\)`},
		{"SIGINT", func(p *pty, c net.Conn) { p.signal(syscall.SIGINT) }, 130, `we closed \(interrupted\)`},
		{"SIGTERM", func(p *pty, c net.Conn) { p.signal(syscall.SIGTERM) }, 143, `we closed \(terminated\)`},
		{"SIGHUP", func(p *pty, c net.Conn) { p.signal(syscall.SIGHUP) }, 129, `we closed \(the terminal hung up\)`},
		{"FIN", func(p *pty, c net.Conn) { _ = c.Close() }, 0, `the peer closed \(FIN\)`},
		{"RST", func(p *pty, c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }, 3, `the peer reset the connection \(RST\)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, accept := peer(t)
			p := onPty(t, "talk", addr)
			conn := accept()
			p.await("> ")
			if !p.isRaw() {
				t.Error("the terminal is not raw")
			}
			c.end(p, conn)
			p.await(c.says)
			p.wantExit(c.code)
		})
	}
}

func TestTalkOnATerminal(t *testing.T) {
	addr, accept := peer(t)
	p := onPty(t, "talk", addr)
	conn := accept()
	p.await(`connected to ` + regexp.QuoteMeta(addr))
	p.keys("hello\r")
	got := make([]byte, 6)
	if _, err := conn.Read(got); err != nil || string(got) != "hello\n" {
		t.Fatalf("the peer got %q, %v", got, err)
	}
	_, _ = conn.Write([]byte("answer\n"))
	p.await(`\d\d:\d\d:\d\d\.\d{3} +\+\d+\.\dms < answer\r\n`)
	p.keys("half")
	p.await("half$")
	_, _ = conn.Write([]byte("evil\x1b[31m\u202e\x9b\n"))
	// Escaped, and the line being typed is there again.
	p.await(`< evil\\x1b\[31m\\u\{202e\}\\x9b\r\n> half`)
	p.keys(" done\r")
	rest := make([]byte, 10)
	if _, err := conn.Read(rest); err != nil || string(rest) != "half done\n" {
		t.Fatalf("the peer got %q, %v", rest, err)
	}
	if strings.Contains(p.shown(), "\x9b") || strings.Contains(p.shown(), "\u202e") || strings.Contains(p.shown(), "\x1b[31m") {
		t.Errorf("the peer's bytes reached the terminal: %q", p.shown())
	}
	p.keys("exit\r")
	p.await(`sent 16 bytes in 2 lines, received 21 bytes in 2 lines`)
	p.wantExit(0)
}

func TestTalkRawOnATerminal(t *testing.T) {
	addr, accept := peer(t)
	p := onPty(t, "talk", "--raw", addr)
	_, _ = accept().Write([]byte("\x1b[31mred\n"))
	p.await("< \x1b\\[31mred\r\n")
	p.keys("\x04")
	p.wantExit(0)
}

// A pipe in does not make the terminal that is out any safer.
func TestTalkFromAPipeToATerminal(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `evil\\x1b\[31m\r\n`},
		{[]string{"--raw"}, "evil\x1b\\[31m\r\n"},
		{[]string{"--hex"}, `00000000  65 76 69 6c 1b .*\|evil\.\[31m\.\|`},
	} {
		in, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		addr, accept := peer(t)
		p := onPtyFrom(t, in, append([]string{"talk", addr}, c.args...)...)
		conn := accept()
		_, _ = conn.Write([]byte("evil\x1b[31m\n"))
		_ = conn.Close()
		p.await(c.want)
		p.wantExit(0)
	}
}

func TestTalkGivesTheTerminalBackWhileItIsStopped(t *testing.T) {
	addr, accept := peer(t)
	p := onPty(t, "talk", addr)
	conn := accept()
	p.await("> ")
	p.keys("half")
	p.await("half")
	stops := []func(){
		func() { p.signal(syscall.SIGTSTP) },
		func() { p.keys("\x1a") },
	}
	for _, stop := range stops {
		stop()
		p.awaitThat("stopped", func() bool { return stateOf(p.cmd.Process.Pid) == 'T' })
		if diff := cmp.Diff(p.before, p.termios()); diff != "" {
			t.Errorf("the terminal is not restored: %s", diff)
		}
		p.signal(syscall.SIGCONT)
		p.awaitThat("raw again", p.isRaw)
	}
	p.keys(" done\r")
	got := make([]byte, 10)
	if _, err := conn.Read(got); err != nil || string(got) != "half done\n" {
		t.Errorf("the peer got %q, %v", got, err)
	}
	p.keys("exit\r")
	p.wantExit(0)
}

// stateOf is a process's state as proc(5) has it.
func stateOf(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return after[0]
}
