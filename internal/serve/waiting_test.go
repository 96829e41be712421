package serve

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWaitingIsInTheOrderOfProgress compares the list with a sorted slice.
func TestWaitingIsInTheOrderOfProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := waiting{timeout: 100}
		l := loop{}
		conns := make([]loopConn, rapid.IntRange(1, 8).Draw(t, "conns"))
		for i := range conns {
			w.push(&conns[i])
		}
		for range rapid.IntRange(0, 50).Draw(t, "steps") {
			l.now += time.Duration(rapid.IntRange(1, 40).Draw(t, "passes"))
			c := &conns[rapid.IntRange(0, len(conns)-1).Draw(t, "which")]
			switch {
			case c.list == nil:
				c.since = l.now
				w.push(c)
			case rapid.Bool().Draw(t, "leaves"):
				w.remove(c)
			default:
				l.wait(c, &w)
			}
			check(t, &w, conns)
		}
	})
}

func check(t *rapid.T, w *waiting, conns []loopConn) {
	var there, listed []*loopConn
	for i := range conns {
		if conns[i].list == w {
			there = append(there, &conns[i])
		}
	}
	for c := w.first; c != nil; c = c.next {
		if (c.next == nil) != (c == w.last) || c.next != nil && c.next.prev != c {
			t.Fatal("the list is broken")
		}
		listed = append(listed, c)
	}
	if len(listed) != len(there) || !slices.IsSortedFunc(listed, func(a, b *loopConn) int { return int(a.since - b.since) }) {
		t.Fatalf("%d are listed of %d, or out of order", len(listed), len(there))
	}
	want := never
	for _, c := range there {
		want = min(want, c.since+w.timeout)
	}
	if due := w.due(); due != want {
		t.Fatalf("due at %v, want %v", due, want)
	}
}

func TestWaitingBeforeItsBeginDoesNotCount(t *testing.T) {
	w := waiting{timeout: 10, from: 50}
	w.push(&loopConn{since: 3})
	if w.due() != 60 {
		t.Errorf("due at %v", w.due())
	}
	w.timeout = never
	if w.due() != never {
		t.Errorf("due at %v without a time-out", w.due())
	}
}
