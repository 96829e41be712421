//go:build unix

package sock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSpareIsNotLentWhileNobodyComes has two acceptors in a process that takes every descriptor there is, again and again, while no client
// is there. All the same each client is told at once that there is no room.
func TestSpareIsNotLentWhileNobodyComes(t *testing.T) {
	for _, kind := range []string{"net", "streams"} {
		t.Run(kind, func(t *testing.T) { atTheLimit(t, kind, (*greedy).look) })
	}
}

// TestSpareIsTakenBack loses the spare before each client comes, and gives what was taken instead of it back while the client waits.
func TestSpareIsTakenBack(t *testing.T) {
	for _, kind := range []string{"net", "streams"} {
		t.Run(kind, func(t *testing.T) { atTheLimit(t, kind, (*greedy).steal) })
	}
}

func atTheLimit(t *testing.T, kind string, between func(*greedy) error) {
	const variable = "SONDE_TEST_SPARE"
	if os.Getenv(variable) != "" {
		beGreedy(kind, between)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.Stderr = os.Stderr
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
	}()
	out := bufio.NewScanner(stdout)
	line := func() string { out.Scan(); return out.Text() }
	addrs := strings.Fields(line())
	if len(addrs) == 0 {
		t.Skip("no streams here")
	}
	for i := range 6 {
		if problem := line(); problem != "ready" {
			t.Fatalf("before client %d: %s", i, problem)
		}
		c, err := net.Dial("tcp", addrs[i%2])
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("client %d sees %d bytes, %v", i, n, err)
		}
		_ = c.Close()
	}
}

// A greedy takes all descriptors that a process may have.
type greedy struct {
	spare  *Spare
	stolen *os.File
}

func (g *greedy) take() (taken []*os.File) {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return taken
		}
		taken = append(taken, f)
	}
}

// look takes what it finds while nobody comes.
func (g *greedy) look() error {
	for range 20 {
		if taken := g.take(); len(taken) > 0 {
			return fmt.Errorf("%d descriptors were free", len(taken))
		}
		time.Sleep(time.Millisecond) // for an acceptor that is still on its way
	}
	return nil
}

// steal takes the spare too.
func (g *greedy) steal() error {
	if err := g.spare.Close(); err != nil {
		return err
	}
	for begun := time.Now(); time.Since(begun) < 5*time.Second; {
		switch taken := g.take(); len(taken) {
		case 0: // an acceptor has it: accept(2) takes one before it looks whether anybody is there
		case 1:
			g.stolen = taken[0]
			return nil
		default:
			return fmt.Errorf("%d descriptors were free", len(taken))
		}
	}
	return errors.New("the spare cannot be had")
}

// giveBack gives back what was stolen.
func (g *greedy) giveBack() {
	if g.stolen != nil {
		_ = g.stolen.Close()
		g.stolen = nil
	}
}

// beGreedy is the child. It says when a client may come, and then waits until one was turned away.
func beGreedy(kind string, between func(*greedy) error) {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 40, Max: 40}); err != nil {
		panic(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	g := &greedy{spare: NewSpare()}
	failed := make(chan error)
	var addrs []any
	var refuse []func()
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		addrs = append(addrs, l.Addr())
		if kind == "net" {
			refuse = append(refuse, func() { refuseAll(NewAcceptor(l, g.spare), failed) })
		} else if streams, err := ListenStreams(l); err == nil {
			refuse = append(refuse, func() { refuseAll(NewAcceptor(streams, g.spare), failed) })
		} else {
			addrs = nil
			break
		}
	}
	fmt.Println(addrs...)
	kept := g.take() // before anybody accepts, who would have one for a moment
	for _, r := range refuse {
		go r()
	}
	for {
		if err := between(g); err != nil {
			fmt.Println(err)
		}
		fmt.Println("ready")
		for err := <-failed; !strings.HasPrefix(err.Error(), "turned"); err = <-failed {
			g.giveBack()
		}
		runtime.KeepAlive(kept)
	}
}

func refuseAll[C Accepted](a *Acceptor[C], failed chan<- error) {
	for {
		if _, err := a.Accept(context.Background()); err != nil {
			failed <- err
		}
	}
}
