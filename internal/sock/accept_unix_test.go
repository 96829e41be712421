//go:build unix

package sock

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shortages() []error {
	return []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}
}

func TestAcceptIsSilentOnClientsThatGaveUp(t *testing.T) {
	aborted := os.NewSyscallError("accept", syscall.ECONNABORTED)
	s := &script{steps: []error{aborted, os.NewSyscallError("accept", syscall.EINTR), aborted, nil}}
	a := newAcceptor(t, s)
	if conn, err := a.Accept(t.Context()); conn == nil || err != nil {
		t.Errorf("after three who gave up: %v", err)
	}
}

// TestAcceptAtTheDescriptorLimit runs an acceptor in a process of its own that has few
// descriptors. Clients on top are turned away at once, those inside are not touched, and when
// they have gone there is room again.
func TestAcceptAtTheDescriptorLimit(t *testing.T) {
	const variable = "SONDE_TEST_FEW_DESCRIPTORS"
	if os.Getenv(variable) != "" {
		serveWithFewDescriptors()
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAcceptAtTheDescriptorLimit$")
	cmd.Env = append(os.Environ(), variable+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); spent > 5*time.Second {
			t.Errorf("it spun: %v of processor time", spent)
		}
	}()
	out := bufio.NewScanner(stdout)
	out.Scan()
	addr := out.Text()

	inside, refused := dialMany(t, addr, 60)
	if len(inside) == 0 || refused == 0 {
		t.Fatalf("%d inside, %d refused", len(inside), refused)
	}
	for _, c := range inside {
		if !answers(c) {
			t.Error("a client inside was lost")
		}
		_ = c.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		again, _ := dialMany(t, addr, 1)
		if len(again) == 1 {
			_ = again[0].Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody is let in after the others left")
		}
	}
}

// dialMany connects n clients and returns those that are answered.
func dialMany(t *testing.T, addr string, n int) (inside []net.Conn, refused int) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if answers(c) {
			inside = append(inside, c)
			continue
		}
		refused++
		_ = c.Close()
	}
	return inside, refused
}

// answers reports whether a byte comes back; a client left hanging fails too.
func answers(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte{'x'}); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	if err != nil && strings.Contains(err.Error(), "timeout") {
		panic("a client was left hanging")
	}
	return err == nil
}

func serveWithFewDescriptors() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	a := NewAcceptor(l, NewSpare())
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 30, Max: 30}); err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		conn, err := a.Accept(context.Background())
		if err != nil {
			continue
		}
		go func() {
			_, _ = io.Copy(conn, struct{ io.Reader }{conn}) // without splice and its pipe
			_ = conn.Close()
		}()
	}
}
