package cli

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sonde/internal/cert"
)

const eofFile = "../../docs/talk-eof.md"

// An eofRow is a row of the table in docs/talk-eof.md, for one of the transports that it names.
type eofRow struct {
	over, input, peer, wait, how string
	exit                         int
}

func (r eofRow) String() string {
	return fmt.Sprintf("%s: %s, %s, wait %s", r.over, r.input, r.peer, r.wait)
}

func eofRows(t *testing.T) (rows []eofRow) {
	t.Helper()
	for line := range strings.Lines(readDoc(t, eofFile)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 6 || cells[0] == "over" || strings.HasPrefix(cells[0], "---") {
			continue
		}
		exit, err := strconv.Atoi(cells[5])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, over := range strings.Split(cells[0], ", ") {
			how := cells[4]
			if over == "TLS" && cells[0] != "TLS" {
				how = strings.ReplaceAll(how, "FIN", "close_notify")
			}
			rows = append(rows, eofRow{over, cells[1], cells[2], cells[3], how, exit})
		}
	}
	return rows
}

// eofCases are the orders that the table must have, for TCP and for TLS; a bare FIN is TLS's alone.
var eofCases = map[string][]string{
	"ends":                   {"closes after us", "resets after us", "stays silent", "sends a bare FIN after us"},
	"ends after the peer's":  {"closes its side, reads on"},
	"stays open":             {"closes its side, reads on", "closes", "resets", "sends a bare FIN"},
	"stays open, SIGTERM":    {"stays silent"},
	"a person leaves":        {"closes after us", "resets after us", "stays silent", "sends a bare FIN after us"},
	"a person stays":         {"closes its side, reads on", "closes", "resets", "sends a bare FIN"},
	"a person stays, Ctrl-C": {"stays silent"},
}

func TestEOFTable(t *testing.T) {
	rows := eofRows(t)
	has := map[string]bool{}
	for _, r := range rows {
		has[r.over+r.input+r.peer] = true
	}
	for input, peers := range eofCases {
		for _, peer := range peers {
			if !has["TLS"+input+peer] || !has["TCP"+input+peer] != strings.Contains(peer, "bare") {
				t.Errorf("the table lacks %s, %s", input, peer)
			}
		}
	}
	authority, pair := localhostFiles(t)
	for _, r := range rows {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			e := &eofRun{T: t, eofRow: r, got: make(chan struct{}), done: make(chan struct{})}
			e.serve(pair)
			args := []string{"talk", "-v", e.addr}
			if r.over == "TLS" {
				args = append(args, "--tls", "--servername", "localhost", "--ca", authority)
			}
			if r.wait != "–" {
				args = append(args, "--wait", r.wait)
			}
			if strings.HasPrefix(r.input, "a person") {
				e.person(args)
			} else {
				e.pipe(args)
			}
		})
	}
}

// localhostFiles makes a certificate for localhost, and a file that a client can trust it by.
func localhostFiles(t *testing.T) (file string, pair tls.Certificate) {
	t.Helper()
	pair, err := cert.SelfSigned([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, pair
}

// An eofRun is one row being done.
type eofRun struct {
	*testing.T
	eofRow
	addr string
	got  chan struct{} // closed when the peer has heard "x\n"
	done chan struct{} // closed when talk has ended

	served sync.WaitGroup
	heard  string // by the peer, once it is served
}

// serve is the peer, which hears "x\n" and then does what the row says.
func (e *eofRun) serve(pair tls.Certificate) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.Fatal(err)
	}
	e.addr = l.Addr().String()
	e.served.Go(func() {
		raw, err := l.Accept()
		_ = l.Close()
		if err != nil {
			e.Error(err)
			return
		}
		defer raw.Close()
		conn := raw
		if e.over == "TLS" {
			conn = tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{pair}})
		}
		e.converse(conn, raw.(*net.TCPConn))
	})
}

func (e *eofRun) converse(conn net.Conn, raw *net.TCPConn) {
	x := make([]byte, 2)
	if _, err := io.ReadFull(conn, x); err != nil {
		e.Errorf("the peer reads: %v", err)
		return
	}
	close(e.got)
	if strings.HasSuffix(e.peer, "after us") {
		rest, _ := io.ReadAll(conn)
		x = append(x, rest...)
	}
	switch strings.TrimSuffix(e.peer, " after us") {
	case "closes":
		_ = conn.Close()
	case "resets":
		_ = raw.SetLinger(0)
		_ = raw.Close()
	case "sends a bare FIN":
		_ = raw.CloseWrite()
		<-e.done
	case "stays silent":
		<-e.done
	case "closes its side, reads on":
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		rest, _ := io.ReadAll(conn)
		x = append(x, rest...)
	default:
		e.Errorf("the table has a peer that nobody knows: %s", e.peer)
	}
	e.heard = string(x)
}

// pipe runs talk in one.
func (e *eofRun) pipe(args []string) {
	exe, err := os.Executable()
	if err != nil {
		e.Fatal(err)
	}
	var stderr lockedBuffer
	cmd := &exec.Cmd{Path: exe, Args: append([]string{"sonde"}, args...), Stderr: &stderr}
	in, err := cmd.StdinPipe()
	if err != nil {
		e.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.Fatal(err)
	}
	_, _ = io.WriteString(in, "x\n")
	want := "x\n"
	switch e.input {
	case "ends":
		_ = in.Close()
	case "stays open":
	case "stays open, SIGTERM":
		e.awaitHeard()
		_ = cmd.Process.Signal(syscall.SIGTERM)
	case "ends after the peer's":
		stderr.await(e.T, `sonde: the peer closed \((FIN|close_notify)\); what the input still brings is sent`)
		_, _ = io.WriteString(in, "y\n")
		_ = in.Close()
		want += "y\n"
	default:
		e.Errorf("the table has an input that nobody knows: %s", e.input)
	}
	state := waitForEnd(e.T, cmd)
	close(e.done)
	e.served.Wait()
	if got := state.ExitCode(); got != e.exit {
		e.Errorf("exit %d, want %d", got, e.exit)
	}
	if !strings.Contains(stderr.String(), "sonde: "+e.how+"; sent ") {
		e.Errorf("it says %q, want %q", stderr.String(), e.how)
	}
	if e.heard != want {
		e.Errorf("the peer heard %q, want %q", e.heard, want)
	}
}

// person runs talk on a terminal.
func (e *eofRun) person(args []string) {
	p := onPty(e.T, args...)
	p.await("> ")
	p.keys("x\r")
	switch e.input {
	case "a person leaves":
		p.keys("exit\r")
	case "a person stays":
	case "a person stays, Ctrl-C":
		e.awaitHeard()
		p.keys("\x03")
	default:
		e.Errorf("the table has an input that nobody knows: %s", e.input)
	}
	p.await(regexp.QuoteMeta(e.how) + "; sent ")
	p.wantExit(e.exit)
	close(e.done)
	e.served.Wait()
}

func (e *eofRun) awaitHeard() {
	e.Helper()
	select {
	case <-e.got:
	case <-time.After(waitLimit):
		e.Fatal("the peer heard nothing")
	}
}

// waitForEnd waits for a program that is to end by itself.
func waitForEnd(t *testing.T, cmd *exec.Cmd) *os.ProcessState {
	t.Helper()
	late := time.AfterFunc(waitLimit, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !late.Stop() {
		t.Error("talk did not end")
	}
	return cmd.ProcessState
}

// A lockedBuffer is what a program writes, to be read while it does.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lockedBuffer) await(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(waitLimit); !re.MatchString(b.String()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never %q, but %q", pattern, b.String())
		}
	}
}
