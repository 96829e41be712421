package sock

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A script is a listener whose Accepts return what is written; then it is closed.
type script struct {
	net.Listener
	steps []error // nil: a connection
	conns []net.Conn
	calls int
}

func (s *script) Accept() (net.Conn, error) {
	s.calls++
	if len(s.steps) == 0 {
		return nil, net.ErrClosed
	}
	err := s.steps[0]
	s.steps = s.steps[1:]
	if err != nil {
		return nil, err
	}
	client, server := net.Pipe()
	s.conns = append(s.conns, client)
	return server, nil
}

func newAcceptor[C Accepted](t *testing.T, l interface{ Accept() (C, error) }) *Acceptor[C] {
	t.Helper()
	spare := NewSpare()
	t.Cleanup(func() { _ = spare.Close() })
	return NewAcceptor(l, spare)
}

func TestAcceptRestsAfterTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		odd := errors.New("an odd error")
		s := &script{steps: []error{odd, odd, odd, odd, odd, odd, odd, odd, odd, odd, nil, odd}}
		a := newAcceptor(t, s)
		start := time.Now()
		for range 10 {
			if _, err := a.Accept(t.Context()); !errors.Is(err, odd) {
				t.Fatal(err)
			}
		}
		if rested := time.Since(start); rested < 3*time.Second || rested > 10*time.Second {
			t.Errorf("ten errors took %v", rested)
		}
		if conn, err := a.Accept(t.Context()); err != nil || conn == nil {
			t.Fatal("no connection after the trouble", err)
		}
		start = time.Now()
		if _, err := a.Accept(t.Context()); !errors.Is(err, odd) || time.Since(start) != firstRest {
			t.Errorf("%v after %v: a success must end the long rests", err, time.Since(start))
		}
		if _, err := a.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed listener gives %v", err)
		}
	})
}

func TestAcceptRestEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAcceptor(t, &script{steps: []error{errors.New("trouble")}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		if _, err := a.Accept(ctx); !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestAcceptServesWhenThereIsRoomAgain(t *testing.T) {
	a := newAcceptor(t, &script{steps: []error{limitError(), nil}})
	if conn, err := a.Accept(t.Context()); err != nil || conn == nil {
		t.Fatalf("there was room: %v", err)
	}
}

func TestAcceptDoesNotSpinAtALimitThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := limitError()
		s := &script{steps: []error{limit, limit, limit, limit, limit, limit}}
		a := newAcceptor(t, s)
		start := time.Now()
		for range 3 {
			if _, err := a.Accept(t.Context()); !errors.Is(err, limit) {
				t.Fatal(err)
			}
		}
		if time.Since(start) < 3*firstRest || s.calls != 6 {
			t.Errorf("%d calls in %v", s.calls, time.Since(start))
		}
	})
}

func limitError() error {
	for _, err := range shortages() {
		if IsLimit(err) {
			return os.NewSyscallError("accept", err)
		}
	}
	panic("no limit is known")
}

func TestLimitsAreLimits(t *testing.T) {
	for _, err := range shortages() {
		if !IsLimit(os.NewSyscallError("accept", err)) {
			t.Errorf("%v is a shortage of ours", err)
		}
	}
	if IsLimit(errors.New("too many open files")) || strings.Contains(limitError().Error(), "nil") {
		t.Error("a limit is known by its number")
	}
}
