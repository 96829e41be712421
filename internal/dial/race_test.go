package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonde/internal/sock"
)

// A runnerPlan is what becomes of the attempt at one address.
type runnerPlan struct {
	after time.Duration
	err   *Error // nil: connects
}

var (
	refused  = &Error{Ending: sock.Reset, Err: syscall.ECONNREFUSED}
	noRoute  = &Error{Ending: sock.Failed, Err: syscall.ENETUNREACH}
	silent   = &Error{Ending: sock.TimedOut, Err: errors.New("silence")}
	noSocket = &Error{Ending: sock.Limit, Err: syscall.EMFILE}
)

// runRace runs a race by plan, in a bubble of time, and returns what was told, when it was told, and who
// won. The addresses are 192.0.2.0, 192.0.2.1 and so on.
func runRace(ctx context.Context, t *testing.T, plan ...runnerPlan) (log []string, winner string, err error) {
	t.Helper()
	var addrs []netip.AddrPort
	for i := range plan {
		addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 80))
	}
	start := time.Now()
	tell := func(a Attempt) {
		what := "connected"
		switch {
		case errors.Is(a.Err, ErrLost):
			what = "lost"
		case a.Err != nil:
			what = "failed"
		}
		log = append(log, fmt.Sprintf("%v %d %s after %v", time.Since(start), a.Addr.Addr().As4()[3], what, a.Took))
	}
	conn, err := race(ctx, addrs, tell, func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		p := plan[addr.Addr().As4()[3]]
		select {
		case <-time.After(p.after):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if p.err != nil {
			e := *p.err
			e.Addr = addr
			return nil, &e
		}
		a, b := net.Pipe()
		_ = b.Close()
		return named{a, addr.Addr().String()}, nil
	})
	if conn != nil {
		winner = strings.TrimPrefix(conn.(named).name, "192.0.2.")
		_ = conn.Close()
	}
	return log, winner, err
}

type named struct {
	net.Conn
	name string
}

const ms = time.Millisecond

func TestRace(t *testing.T) {
	for _, c := range []struct {
		name   string
		plan   []runnerPlan
		winner string
		log    []string
	}{
		{"one", []runnerPlan{{10 * ms, nil}}, "0", []string{"10ms 0 connected after 10ms"}},
		{"the first answers before the second is tried", []runnerPlan{{240 * ms, nil}, {1 * ms, nil}}, "0", []string{"240ms 0 connected after 240ms"}},
		{"the first is slow", []runnerPlan{{400 * ms, nil}, {100 * ms, nil}}, "1",
			[]string{"350ms 1 connected after 100ms", "350ms 0 lost after 350ms"}},
		{"the first is slower than the delay, and still first", []runnerPlan{{300 * ms, nil}, {100 * ms, nil}}, "0",
			[]string{"300ms 0 connected after 300ms", "300ms 1 lost after 50ms"}},
		{"a failure starts the next at once", []runnerPlan{{30 * ms, refused}, {5 * ms, nil}}, "1",
			[]string{"30ms 0 failed after 30ms", "35ms 1 connected after 5ms"}},
		{"and the delay begins anew", []runnerPlan{{30 * ms, refused}, {time.Hour, nil}, {5 * ms, nil}}, "2",
			[]string{"30ms 0 failed after 30ms", "285ms 2 connected after 5ms", "285ms 1 lost after 255ms"}},
		{"all fail", []runnerPlan{{1 * ms, noRoute}, {2 * ms, refused}, {time.Second, silent}}, "",
			[]string{"1ms 0 failed after 1ms", "3ms 1 failed after 2ms", "1.003s 2 failed after 1s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, winner, err := runRace(t.Context(), t, c.plan...)
				if diff := cmp.Diff(c.log, log); diff != "" || winner != c.winner || (err == nil) != (winner != "") {
					t.Errorf("%q won, %v; told %s", winner, err, diff)
				}
			})
		})
	}
}

// Of all failures the one that says most of the peer is the error.
func TestRaceReturnsTheFailureThatTellsMost(t *testing.T) {
	said := &Error{Ending: sock.Failed, ICMP: &Refusal{}}
	met := &Error{Ending: sock.Reset, Met: true, Err: syscall.ECONNRESET}
	weights := []*Error{noRoute, silent, said, refused, met, noSocket} // from the least
	for i := range weights {
		for j := range i {
			synctest.Test(t, func(t *testing.T) {
				for _, plan := range [][]runnerPlan{{{ms, weights[i]}, {ms, weights[j]}}, {{ms, weights[j]}, {ms, weights[i]}}} {
					_, _, err := runRace(t.Context(), t, plan...)
					var e *Error
					if !errors.As(err, &e) || e.weight() != weights[i].weight() {
						t.Errorf("of %v and %v: %v", weights[i].Ending, weights[j].Ending, err)
					}
				}
			})
		}
	}
}

func TestRaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("told to")
		time.AfterFunc(300*ms, func() { cancel(cause) })
		log, _, err := runRace(ctx, t, runnerPlan{time.Hour, nil}, runnerPlan{time.Hour, nil}, runnerPlan{time.Hour, nil})
		if !errors.Is(err, cause) || len(log) != 0 {
			t.Errorf("%v; told %q", err, log)
		}
	})
}

func TestRaceWithoutAddresses(t *testing.T) {
	if conn, err := (Dialer{}).Race(t.Context(), nil, nil); err == nil {
		t.Errorf("connected to %v", conn.RemoteAddr())
	}
}

// On real sockets: the first refuses, the second accepts.
func TestRaceOnLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := addrOf(l.Addr())
	nobody := unused(t, "tcp")
	var told []Attempt
	conn, err := Dialer{}.Race(t.Context(), []netip.AddrPort{nobody, to}, func(a Attempt) { told = append(told, a) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var e *Error
	if len(told) != 2 || !errors.As(told[0].Err, &e) || e.Ending != sock.Reset || told[0].Addr != nobody || told[1].Err != nil || told[1].Addr != to {
		t.Errorf("told %+v", told)
	}
}

func TestInterleave(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"::1", "::1"},
		{"::1 ::2 ::3 127.0.0.1 127.0.0.2", "::1 127.0.0.1 ::2 127.0.0.2 ::3"},
		{"127.0.0.1 127.0.0.2 ::1", "127.0.0.1 ::1 127.0.0.2"},
		{"127.0.0.1 ::1 ::2 ::3", "127.0.0.1 ::1 ::2 ::3"},
	} {
		if got := fmt.Sprint(Interleave(parseAll(c.in))); got != "["+c.want+"]" {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
}

// Nothing is lost, and within a family the order stays.
func TestInterleaveIsAPermutation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in []netip.Addr
		for i, is4 := range rapid.SliceOfN(rapid.Bool(), 0, 12).Draw(t, "families") {
			a := netip.AddrFrom16([16]byte{15: byte(i)})
			if is4 {
				a = netip.AddrFrom4([4]byte{3: byte(i)})
			}
			in = append(in, a)
		}
		out := Interleave(in)
		for _, is4 := range []bool{false, true} {
			of := func(all []netip.Addr) []netip.Addr {
				return slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return a.Is4() != is4 })
			}
			if !slices.Equal(of(in), of(out)) {
				t.Fatalf("%v became %v", in, out)
			}
		}
		if len(out) != len(in) || len(in) > 0 && out[0] != in[0] {
			t.Fatalf("%v became %v", in, out)
		}
	})
}

func parseAll(text string) (addrs []netip.Addr) {
	for _, a := range strings.Fields(text) {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs
}
