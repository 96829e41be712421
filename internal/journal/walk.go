package journal

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// A walk goes through the lines of an earlier run, one ahead.
type walk struct {
	*reader
	kind   string // of the next line; empty at the end
	object []byte
	before position // where it begins
}

func newWalk(f io.ReaderAt, from position, to int64) *walk {
	return &walk{reader: newReader(f, from, to)}
}

// step moves to the next line.
func (w *walk) step() (err error) {
	w.before = w.position
	w.kind, w.object, err = w.next()
	if errors.Is(err, io.EOF) {
		w.kind, w.object, err = "", nil, nil
	}
	return err
}

// recorded returns the next line of the earlier run, nil if there is none: then the scan goes on from here. A line
// of another kind is not of this scan.
func (j *Journal) recorded(kind string) ([]byte, error) {
	if j.err != nil || j.old == nil {
		return nil, j.err
	}
	if j.old.kind == "" {
		if err := j.old.step(); err != nil {
			return nil, j.fail("read", err)
		}
	}
	if j.old.kind == "" {
		j.old = nil
		return nil, nil
	}
	if j.old.kind != kind {
		return nil, j.other("a line of the kind %q, where this scan has %q", j.old.kind, kind)
	}
	object := j.old.object
	j.old.kind = ""
	return object, nil
}

// other refuses to go on: the journal and the scan that walks through it part here.
func (j *Journal) other(what string, args ...any) error {
	j.err = fmt.Errorf("%s %w: line %d has %s", j.path, ErrOther, j.old.before.lines+1, fmt.Sprintf(what, args...))
	return j.err
}

// Begin begins a stage, and returns it as it is to be carried out: as the journal has it, where an earlier run had
// begun it, else as it was given. A stage is begun inside no other, or inside a span that is over, to verify it.
func (j *Journal) Begin(s Stage) (Stage, error) {
	if j == nil {
		return s, nil
	}
	object, err := j.recorded(kindStage)
	if err != nil {
		return s, err
	}
	if object == nil {
		return s, j.write(kindStage, stageLine{kindStage, s, orderOf(s)})
	}
	var line stageLine
	if err := decode(object, &line); err != nil {
		return s, j.fail("read", err)
	}
	if line.Name != s.Name {
		return s, j.other("the stage %q, where this scan has %q", line.Name, s.Name)
	}
	if orderOf(line.Stage) != line.Order {
		j.err = fmt.Errorf("%s %w: %s, which probes in another order", j.path, ErrNewer, j.header.Version)
		return s, j.err
	}
	return line.Stage, nil
}

// Span begins a span of the stage and returns what an earlier run did of it, nil if nothing. Its answers are read from
// the file each time, until the journal is closed; what keeps them from being read ends them, and fails whatever
// the journal is told next.
func (j *Journal) Span(s scan.Span) (*scan.Past, error) {
	if j == nil {
		return nil, nil
	}
	object, err := j.recorded(kindSpan)
	if err != nil {
		return nil, err
	}
	j.told = told{}
	if object == nil {
		return nil, j.write(kindSpan, spanLine{kindSpan, s.Lo, s.Hi})
	}
	var line spanLine
	if err := decode(object, &line); err != nil {
		return nil, j.fail("read", err)
	}
	if (scan.Span{Lo: line.Lo, Hi: line.Hi}) != s {
		return nil, j.other("a span from %d to %d, where this scan has %d to %d", line.Lo, line.Hi, s.Lo, s.Hi)
	}
	return j.past()
}

// past goes behind the results of the span at hand.
func (j *Journal) past() (*scan.Past, error) {
	from := j.old.position
	mark := scan.Mark{Pass: 1} // nothing is accounted for until a mark says so
	for {
		if err := j.old.step(); err != nil {
			return nil, j.fail("read", err)
		}
		switch j.old.kind {
		case kindResult:
			var r probe.Result
			if err := parseResult(j.old.object, &r); err != nil {
				return nil, j.fail("read", err)
			}
			advance(&mark, r.Attempt)
		case kindMark:
			var line markLine
			if err := decode(j.old.object, &line); err != nil {
				return nil, j.fail("read", err)
			}
			mark = line.Mark
			j.told.add(&mark)
			mark.Limited, mark.GaveUp = j.told.limited.all(), j.told.gaveUp.all()
		default:
			return &scan.Past{Mark: mark, Answers: j.answers(from, j.old.before)}, nil
		}
	}
}

// advance brings a mark up to a result that was written after it. An answer to a probe of a later pass shows that
// the passes before were over; and whether a pass heard anything decides if there is another.
func advance(m *scan.Mark, attempt uint8) {
	switch {
	case m.Pass == 0 || attempt < m.Pass:
	case attempt > m.Pass:
		m.Pass, m.Done, m.Heard = attempt, 0, true
	default:
		m.Heard = true
	}
}

// answers yields the results between two positions.
func (j *Journal) answers(from, to position) iter.Seq[probe.Result] {
	return func(yield func(probe.Result) bool) {
		r := newReader(j.file, from, to.offset)
		for {
			kind, object, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			var result probe.Result
			if err == nil && kind == kindResult {
				err = parseResult(object, &result)
			}
			if err != nil {
				_ = j.fail("read", err)
				return
			}
			if kind == kindResult && !yield(result) {
				return
			}
		}
	}
}

// replayed is how many answers are given to a sink at once.
const replayed = 256

// Replay gives the answers of an earlier run to a sink, as if they came now. It does nothing with a nil past.
func (j *Journal) Replay(past *scan.Past, sink scan.Sink) error {
	if j == nil || past == nil {
		return nil
	}
	answers := make([]probe.Result, 0, replayed)
	for r := range past.Answers {
		if answers = append(answers, r); len(answers) == cap(answers) {
			if err := sink.Put(answers); err != nil {
				return err
			}
			answers = answers[:0]
		}
	}
	if len(answers) > 0 {
		if err := sink.Put(answers); err != nil {
			return err
		}
	}
	return j.err
}

// EndSpan says that the span at hand is over, and whatever verified it.
func (j *Journal) EndSpan() error { return j.finish(kindSpanEnd) }

// EndStage says that the stage at hand is over.
func (j *Journal) EndStage() error { return j.finish(kindStageEnd) }

// End says that the scan is over: the journal is finished. It is not for one that was cut short.
func (j *Journal) End() error { return j.finish(kindEnd) }

func (j *Journal) finish(kind string) error {
	if j == nil {
		return nil
	}
	object, err := j.recorded(kind)
	if err != nil || object != nil {
		return err
	}
	return j.write(kind, bareLine{kind})
}
