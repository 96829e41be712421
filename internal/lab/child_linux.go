package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A request is what one end of a link shall do, in the order of the fields. The client does its own in process,
// a host reads them from its standard input.
type request struct {
	Join    *join
	End     *end // its device is up
	Routes  []route
	Settle  string // the device that shall be ready to carry packets
	Filter  *filter
	Config  *Config // its addresses, listeners and sysctls
	Hits    bool
	Tally   bool
	Reset   bool // of the tally
	Flood   *flood
	Flooded bool // wait for the end of the flood
}

type reply struct {
	Hits    []uint64
	Tally   Tally
	Sent    uint64 // by the flood
	Err     string
	Lacking bool // Err is for want of a privilege or of something in the kernel
}

// A child is the process behind a Host: requests go in, replies come out, one at a time.
// It ends when its standard input does, and so with the test process, however that dies.
type child struct {
	mu      sync.Mutex
	cmd     *exec.Cmd
	in, out *os.File
	enc     *json.Encoder
	dec     *json.Decoder
}

// patience is how long a host may take for anything before the test gives it up.
const patience = 30 * time.Second

// startChild starts a host in a network namespace of its own. Its standard error is t's output. The caller ends it.
func startChild(t testing.TB) (*child, error) {
	cmd := again("-test.run=^$") // none, should TestMain not call Main
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer stdout.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, t.Output()
	cmd.Env = append(os.Environ(), hostEnv+"=1", raceEnv())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return &child{cmd: cmd, in: in, out: out, enc: json.NewEncoder(in), dec: json.NewDecoder(out)}, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// do has the host do r, and returns what it says.
func (c *child) do(r request) (reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.in.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return reply{}, err
	}
	if err := c.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return reply{}, err
	}
	if err := c.enc.Encode(r); err != nil {
		return reply{}, fmt.Errorf("ask: %w", err)
	}
	var answer reply
	if err := c.dec.Decode(&answer); err != nil {
		return reply{}, fmt.Errorf("no reply (does TestMain call lab.Main?): %w", err)
	}
	if answer.Lacking {
		return reply{}, fmt.Errorf("%w: %s", errLacking, answer.Err)
	}
	if answer.Err != "" {
		return reply{}, errors.New(answer.Err)
	}
	return answer, nil
}

// end has the host exit and waits for it. The error is what ended it before, if something did.
func (c *child) end() error {
	closing := c.in.Close()
	late := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(closing, c.cmd.Wait(), c.out.Close())
}

// play is the life of a host: it does what is asked until there is nobody left to ask.
func play(in io.Reader, out io.Writer) error {
	if err := bringUp("lo"); err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	var m machine
	for {
		var r request
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		answer, err := m.execute(r)
		if err != nil {
			answer = reply{Err: err.Error(), Lacking: lacking(err)}
		}
		if err := replies.Encode(answer); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
	}
}

// A machine is what one process of the lab has going in its namespace.
type machine struct {
	program *program
	pouring *pouring
}

// execute does r in the namespace of this process.
func (m *machine) execute(r request) (reply, error) {
	if r.Join != nil {
		if err := r.Join.do(); err != nil {
			return reply{}, err
		}
	}
	if r.End != nil {
		if err := m.prepare(r.End); err != nil {
			return reply{}, err
		}
	}
	for _, way := range r.Routes {
		if err := way.add(); err != nil {
			return reply{}, err
		}
	}
	if r.Settle != "" {
		if err := settle(r.Settle); err != nil {
			return reply{}, err
		}
	}
	if r.Filter != nil {
		if err := r.Filter.lay(); err != nil {
			return reply{}, err
		}
	}
	if r.Config != nil {
		if err := r.Config.apply(); err != nil {
			return reply{}, err
		}
	}
	return m.tell(r)
}

// tell does the part of r that has something to say.
func (m *machine) tell(r request) (answer reply, err error) {
	switch {
	case r.Hits:
		answer.Hits, err = hits()
	case r.Tally:
		answer.Tally, err = m.program.tally()
	case r.Reset:
		err = m.program.reset()
	case r.Flood != nil:
		m.pouring, err = r.Flood.start()
	case r.Flooded:
		answer.Sent, err = m.pouring.wait()
	}
	return answer, err
}
