package bench

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkEchoIdle tells what 10,000 idle connections cost a server each: resident memory, and descriptors. Each has had one
// message of 64 bytes echoed. Memory is taken a second later, as it is: with what a garbage collector has not got round to.
func BenchmarkEchoIdle(b *testing.B) {
	connections := manyDescriptors(b)
	r := tcpRivals(b)
	for b.Loop() {
		for _, s := range r.servers {
			tellIdle(b, s, connections, func() func() { return r.hold(b, s, connections) })
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEchoIdleTLS is the same of sonde's TLS.
func BenchmarkEchoIdleTLS(b *testing.B) {
	connections := manyDescriptors(b)
	_, there := processors(b)
	s := serve(b, there, "sonde-tls", build(b, "sonde"), "echo", "--tcp", "--tls", "127.0.0.1:0")
	for b.Loop() {
		tellIdle(b, s, connections, func() func() { return holdTLS(b, s, connections) })
	}
	b.ReportMetric(0, "ns/op")
}

// manyDescriptors returns how many connections a server has descriptors for: 10,000, if root may raise the limit or it is
// high enough. With io.Copy a connection takes three.
func manyDescriptors(b *testing.B) int {
	b.Helper()
	const wanted, each, others = 10_000, 3, 100
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	raised := syscall.Rlimit{Cur: max(limit.Max, each*wanted+others), Max: max(limit.Max, each*wanted+others)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) != nil { // set by us, it goes to the programs that we start
		raised = syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
			b.Fatal(err)
		}
	}
	n := min(wanted, (int(min(raised.Cur, 1<<30))-others)/each)
	if n < wanted/10 {
		b.Skipf("only %d descriptors may be open", raised.Cur)
	}
	return n
}

// tellIdle reports what a server grows by; hold connects, and returns what ends the connections.
func tellIdle(b *testing.B, s *server, connections int, hold func() (release func())) {
	b.Helper()
	memory, open := s.holdings(b)
	release := hold()
	time.Sleep(time.Second)
	grown, more := s.holdings(b)
	release()
	b.ReportMetric(float64(grown-memory)/float64(connections), s.name+"-B/conn")
	b.ReportMetric(float64(more-open)/float64(connections), s.name+"-fds/conn")
	if more-open < connections {
		b.Errorf("%s has %d more descriptors with %d connections", s.name, more-open, connections)
	}
}

// holdings are a server's resident memory and descriptors.
func (s *server) holdings(b *testing.B) (memory int64, open int) {
	b.Helper()
	memory, err := residentNow(s.pid)
	if err != nil {
		b.Fatalf("%s is gone: %v", s.name, err)
	}
	if open, err = descriptors(s.pid); err != nil {
		b.Fatal(err)
	}
	return memory, open
}

// hold has the client hold connections until they are released.
func (r *rivals) hold(b *testing.B, s *server, connections int) (release func()) {
	b.Helper()
	cmd := exec.Command(r.client, "hold", s.addr.Addr().String(), fmt.Sprint(s.addr.Port()), fmt.Sprintf("conns=%d", connections))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	startOn(b, r.onHere, cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		b.Fatalf("%s: %d connections are not held: %q, %v, %v", s.name, connections, line, err, cmd.Wait())
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

// holdTLS holds connections of this process: the client in C has no TLS.
func holdTLS(b *testing.B, s *server, connections int) (release func()) {
	b.Helper()
	held := make([]*tls.Conn, connections)
	release = func() {
		for _, c := range held {
			if c != nil {
				_ = c.NetConn().Close()
			}
		}
	}
	const atOnce = 8
	var dialing errgroup.Group
	for first := range atOnce {
		dialing.Go(func() (err error) {
			for i := first; i < connections && err == nil; i += atOnce {
				held[i], err = dialTLS(s)
			}
			return err
		})
	}
	if err := dialing.Wait(); err != nil {
		release()
		b.Fatalf("%s: %v", s.name, err)
	}
	return release
}

// dialTLS connects, whoever the server says it is, and has a message echoed.
func dialTLS(s *server) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", s.addr.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	return c, exchange(c, make([]byte, 64))
}

// exchange sends a message and waits for it.
func exchange(c io.ReadWriter, message []byte) error {
	if _, err := c.Write(message); err != nil {
		return err
	}
	back := make([]byte, len(message))
	if _, err := io.ReadFull(c, back); err != nil {
		return err
	}
	if string(back) != string(message) {
		return fmt.Errorf("%q came back as %q", message, back)
	}
	return nil
}
