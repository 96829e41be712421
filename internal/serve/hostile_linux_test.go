package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sonde/internal/sock"
)

func countDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(names)
}

// TestHalfOpenPeer: a peer that has forgotten the connection is noticed when the idle time-out is over.
func TestHalfOpenPeer(t *testing.T) { eachWay(t, halfOpenPeer) }

func halfOpenPeer(t *testing.T, handle func(*Conn) error) {
	l := loopback(t)
	r := start(t, Limits{IdleTimeout: 1500 * time.Millisecond}, handle, l)
	c := dial(t, l)
	exchange(t, c, "hello")
	forget(t, c)
	var idle *IdleError
	if e := r.await(Ended, 1)[0]; e.Ending != sock.TimedOut || !errors.As(e.Err, &idle) || idle.Write {
		t.Errorf("told %+v", e)
	}
	r.stop()
}

// forget closes c without a packet (tcp(7), TCP_REPAIR), as a crash would.
func forget(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var repair error
	if err := raw.Control(func(fd uintptr) { repair = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, 1) }); err != nil {
		t.Fatal(err)
	}
	if repair != nil {
		t.Skipf("a connection cannot be forgotten without CAP_NET_ADMIN: %v", repair)
	}
	_ = c.Close()
}

// TestDescriptorLimit has 500 clients at a server that may have 64 descriptors. Those on top are turned away cleanly, those inside go on,
// and once they have gone there is room. It does not spin: accepting fails once for each who is turned away.
func TestDescriptorLimit(t *testing.T) { eachWay(t, descriptorLimit) }

const (
	limitVariable   = "SONDE_TEST_DESCRIPTOR_LIMIT"
	descriptorsHeld = 64
)

func descriptorLimit(t *testing.T, handle func(*Conn) error) {
	if os.Getenv(limitVariable) != "" {
		serveAtTheLimit(handle)
	}
	child, out, end := startChild(t)
	addr := readLine(t, out)
	inside, refused := comeInside(t, addr, 500)
	if len(inside) < descriptorsHeld/2 || len(inside) > descriptorsHeld || len(inside)+refused != 500 {
		t.Fatalf("%d inside, %d refused", len(inside), refused)
	}
	if share := processorShare(t, child.Process.Pid, time.Second); share > 0.25 {
		t.Errorf("at the limit, with nobody coming, it has %.0f %% of a processor", 100*share)
	}
	for _, c := range inside {
		exchange(t, c, "still inside")
		_ = c.Close()
	}
	tries := comeInsideAgain(t, addr)
	end()
	var failed int
	if _, err := fmt.Sscan(readLine(t, out), &failed); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("accepting failed %d times, for %d who were turned away", failed, refused+tries-1)
	if failed < refused || failed > refused+tries+10 {
		t.Errorf("accepting failed %d times, %d were turned away", failed, refused+tries-1)
	}
}

// processorShare returns how much of a processor a process has for so long (proc_pid_stat(5): utime and stime, in hundredths of a second).
func processorShare(t *testing.T, pid int, during time.Duration) float64 {
	t.Helper()
	spent := func() (sum time.Duration) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		for _, ticks := range strings.Fields(after)[11:13] {
			n, err := strconv.Atoi(ticks)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
		return sum
	}
	before, began := spent(), time.Now()
	time.Sleep(during)
	return float64(spent()-before) / float64(time.Since(began))
}

// comeInsideAgain comes until there is room, and returns how often.
func comeInsideAgain(t *testing.T, addr string) (tries int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 5*time.Second; {
		tries++
		if inside, _ := comeInside(t, addr, 1); len(inside) == 1 {
			return tries
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("there is no room after all have gone")
	return tries
}

func startChild(t *testing.T) (child *exec.Cmd, out *bufio.Scanner, end func()) {
	t.Helper()
	child = exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), limitVariable+"=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	return child, bufio.NewScanner(stdout), func() { _ = stdin.Close() }
}

func readLine(t *testing.T, s *bufio.Scanner) string {
	t.Helper()
	if !s.Scan() {
		t.Fatal("the server has ended", s.Err())
	}
	return s.Text()
}

// comeInside has n clients come and returns those who are served.
func comeInside(t *testing.T, addr string, n int) (inside []*net.TCPConn, refused int) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = c.Write([]byte("x"))
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Cleanup(func() { _ = c.Close() })
			inside = append(inside, c.(*net.TCPConn))
			continue
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("a client was turned away with %v", err)
		}
		refused++
		_ = c.Close()
	}
	return inside, refused
}

// serveAtTheLimit is the child: it says where it listens and, when its standard input has ended, how often accepting failed.
func serveAtTheLimit(handle func(*Conn) error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: descriptorsHeld, Max: descriptorsHeld}); err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(ErrNow)
	}()
	s := Server{Handle: handle, Answer: same, Counts: new(Counts)}
	if err := s.Serve(ctx, l); err != nil {
		panic(err)
	}
	failed := uint64(0)
	for errno, n := range s.Counts.EachFailed() {
		if errno != syscall.EMFILE {
			panic(errno)
		}
		failed += n
	}
	fmt.Println(failed)
	os.Exit(0)
}

// TestManyWhoDoNotReadHoldLittle: when many large rests are kept, no more is read at once than fits a small one.
func TestManyWhoDoNotReadHoldLittle(t *testing.T) {
	l := loopback(t)
	streams, err := sock.ListenStreams(l)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = streams.Close() }()
	poll, err := sock.NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer poll.Close()
	client := dial(t, l)
	s, err := streams.Accept()
	if err != nil {
		t.Fatal(err)
	}
	loop := newLoop(poll, &loops{answer: same, ended: func(*record) {}, counts: new(Counts)})
	c := &loopConn{record: newRecord(s), stream: s}
	loop.begin(c)
	const size = 32 << 20
	go func() { _, _ = client.Write(make([]byte, size)) }()
	loop.kept = largeRests
	for c.in == 0 {
		loop.read(c)
	}
	if c.in > smallRead || loop.kept != largeRests {
		t.Errorf("%d bytes were read at once, %d large rests are kept", c.in, loop.kept)
	}
	loop.kept = 0
	got, most := uint64(0), 0
	for c.out < size {
		poll.Wait(time.Second)
		if loop.serve(c); loop.kept == 0 && c.list != &loop.writing {
			continue // until the client has to read
		}
		if most = max(most, loop.kept); (loop.kept == 1) != (len(c.unsent) > smallRead) {
			t.Fatalf("%d large rests are kept, of %d bytes", loop.kept, len(c.unsent))
		}
		for c.list == &loop.writing {
			if _, err := io.CopyN(io.Discard, client, int64(c.out-got)); err != nil {
				t.Fatal(err)
			}
			got = c.out
			loop.serve(c)
		}
	}
	if most != 1 || loop.kept != 0 {
		t.Errorf("%d large rests were kept, %d still are", most, loop.kept)
	}
	loop.cut()
	if loop.open.Load() != -1 || loop.kept != 0 { // it was never counted in
		t.Errorf("%d open, %d kept", loop.open.Load(), loop.kept)
	}
}
