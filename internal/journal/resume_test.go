package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// uninterrupted carries out a scan and returns it with its journal.
func uninterrupted(t testing.TB) (*scanner, []byte) {
	t.Helper()
	path := put(t, nil)
	s := begin(t, path)
	if err := errors.Join(s.scan(), s.journal.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return s, text
}

// what a result says that has to be the same however often a scan was killed.
type verdict struct {
	target probe.Target
	state  probe.State
	reason probe.Reason
}

func (o *outcome) verdicts() map[verdict]int {
	times := map[verdict]int{}
	for _, r := range o.answers {
		times[verdict{r.Target, r.State, r.Reason}]++
	}
	return times
}

// difference tells what a resumed scan reported otherwise than one that nobody killed.
func difference(got, want *outcome) string {
	if d := cmp.Diff(want.verdicts(), got.verdicts(), cmp.Comparer(func(a, b verdict) bool { return a == b })); d != "" {
		return "results (- wanted, + reported):\n" + d
	}
	return cmp.Diff(want.spans, got.spans)
}

// Wherever a scan is killed, what it reports when it has gone on is what it would have reported, what was whole in its
// journal is still there, and who answered is not asked again.
func TestKilledAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, text := uninterrupted(t)
		if marks := bytes.Count(text, []byte(`"mark"`)); marks < 20 {
			t.Fatalf("%d marks: too few to go on from", marks)
		}
		for _, cut := range some(cuts(text)) {
			s, after, err := goOn(t, text[:cut])
			if err != nil {
				t.Fatalf("killed at byte %d: %v", cut, err)
			}
			if d := difference(&s.out, &whole.out); d != "" {
				t.Fatalf("killed at byte %d, behind %q: %s", cut, text[max(0, cut-300):cut], d)
			}
			kept := text[:bytes.LastIndexByte(text[:cut], '\n')+1]
			if !bytes.HasPrefix(after, kept) {
				t.Fatalf("killed at byte %d: what was whole was changed", cut)
			}
			for _, q := range answered(t, kept) {
				if s.net.asked[q] {
					t.Fatalf("killed at byte %d: %v had answered and was asked again", cut, q)
				}
			}
		}
	})
}

// some returns each of a list, and with -short every fifth: nothing here is concurrent, and the race detector makes it ten times as slow.
func some[T any](list []T) []T {
	if !testing.Short() {
		return list
	}
	var few []T
	for i := 0; i < len(list); i += 5 {
		few = append(few, list[i])
	}
	return few
}

// upTo returns the integers below n.
func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// cuts returns where lines end, the header's to the last, and where some are cut in two.
func cuts(text []byte) (list []int) {
	start := bytes.IndexByte(text, '\n') + 1
	for i, line := range bytes.SplitAfter(text[start:], []byte("\n")) {
		list = append(list, start)
		if i%3 == 0 && len(line) > 0 {
			list = append(list, start+1+i*7%(len(line)-1))
		}
		start += len(line)
	}
	return list
}

// answered lists the results of a journal, by the names that the scanner gives to its spans.
func answered(t *testing.T, text []byte) (list []question) {
	t.Helper()
	var names []string
	for r := newReader(bytes.NewReader(text), position{}, int64(len(text))); ; {
		kind, object, err := r.next()
		if errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case kindStage:
			var line stageLine
			err = decode(object, &line)
			names = append(names, " "+line.Name)
		case kindSpan:
			var line spanLine
			err = decode(object, &line)
			names = append(names, fmt.Sprintf(" {%d %d}", line.Lo, line.Hi))
		case kindSpanEnd, kindStageEnd:
			names = names[:len(names)-1]
		case kindResult:
			var result probe.Result
			err = parseResult(object, &result)
			list = append(list, question{strings.Join(names, ""), result.Target})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The same, killed again and again.
func TestKilledAgain(t *testing.T) {
	var whole *scanner
	var text []byte
	synctest.Test(t, func(t *testing.T) { whole, text = uninterrupted(t) })
	rapid.Check(t, func(rt *rapid.T) {
		kills := rapid.SliceOfN(rapid.Float64Range(0, 1), 2, 4).Draw(rt, "kills")
		var wrong string
		synctest.Test(t, func(t *testing.T) { wrong = killedAt(t, &whole.out, text, kills) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// killedAt kills a scan again and again, each time after some part of what it wrote since the last.
func killedAt(t *testing.T, whole *outcome, text []byte, kills []float64) string {
	at := bytes.IndexByte(text, '\n') + 1
	for _, part := range kills {
		at += int(part * float64(len(text)-at))
		s, after, err := goOn(t, text[:at])
		if err != nil {
			return err.Error()
		}
		if d := difference(&s.out, whole); d != "" {
			return d
		}
		text = after
	}
	return ""
}

// A journal that is cut anywhere is opened up to its last whole line.
func TestCutAtEveryByte(t *testing.T) {
	text := everyKind(t)
	begins := bytes.IndexByte(text, '\n') + 1
	for _, cut := range some(upTo(len(text) + 1)) {
		c, err := check(bytes.NewReader(text[:cut]), int64(cut), "x")
		if cut < begins {
			if !errors.Is(err, ErrEmpty) {
				t.Fatalf("cut at byte %d, inside the header: %v", cut, err)
			}
			continue
		}
		if want := bytes.LastIndexByte(text[:cut], '\n') + 1; err != nil || c.end.offset != int64(want) {
			t.Fatalf("cut at byte %d: ends at %+v, %v, want %d", cut, c, err, want)
		}
	}
}

// No byte can be another without its being noticed, unless it makes the last line one without an end.
func TestEveryByteCounts(t *testing.T) {
	text := everyKind(t)
	for _, i := range some(upTo(len(text))) {
		for _, bit := range []byte{1 << (i % 8), 'a' - 'A'} {
			text[i] ^= bit
			c, err := check(bytes.NewReader(text), int64(len(text)), "x")
			text[i] ^= bit
			if err == nil && (i < len(text)-1 || c.shape.over) {
				t.Fatalf("byte %d changed by %d: nothing was noticed", i, bit)
			}
		}
	}
}

// Nor can a line be missing, doubled or in another place.
func TestEveryLineCounts(t *testing.T) {
	text := everyKind(t)
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	refused := func(what string, i int, lines [][]byte) {
		t.Helper()
		changed := bytes.Join(lines, nil)
		c, err := check(bytes.NewReader(changed), int64(len(changed)), "x")
		var broken *BrokenError
		if !errors.As(err, &broken) && !errors.Is(err, ErrNoJournal) {
			t.Fatalf("line %d %s: %+v, %v", i+1, what, c, err)
		}
		if broken == nil {
			return
		}
		if _, err := check(bytes.NewReader(changed), broken.Offset, "x"); err != nil && broken.Offset > 0 {
			t.Fatalf("line %d %s: the %d bytes before are not whole: %v", i+1, what, broken.Offset, err)
		}
	}
	for i := range len(lines) - 1 {
		refused("is missing", i, slices.Concat(lines[:i], lines[i+1:]))
		refused("is there twice", i, slices.Concat(lines[:i+1], lines[i:]))
		swapped := slices.Clone(lines)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		refused("comes later", i, swapped)
	}
}

// everyKind returns a short journal that has lines of every kind.
func everyKind(t testing.TB) []byte {
	t.Helper()
	path := put(t, nil)
	j, err := Create(path, testHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	space := j.Header().Local
	step := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	span := func() {
		step(j.Span(scan.Span{Hi: 28}))
		step(nil, j.Put([]probe.Result{answerTo(probe.Probe{Target: space.At(0), Attempt: 1}), answerTo(probe.Probe{Target: space.At(9), Attempt: 1})}))
		step(nil, j.Mark(scan.Mark{Pass: 1, Done: 9, Heard: true, Probes: 9, Limited: []netip.Addr{space.Host(0)}}))
		step(nil, j.Put([]probe.Result{answerTo(probe.Probe{Target: space.At(14), Attempt: 1})}))
		step(nil, j.Mark(scan.Mark{}))
	}
	step(j.Begin(Stage{Name: "scan", Space: space}))
	span()
	step(j.Begin(Stage{Name: "verify", Space: space}))
	span()
	step(nil, j.EndSpan())
	step(nil, j.EndStage())
	step(nil, j.EndSpan())
	step(nil, j.EndStage())
	step(nil, j.End())
	step(nil, j.Close())
	text, err := os.ReadFile(path)
	step(nil, err)
	return text
}
