package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"

	"sonde/internal/probe"
	"sonde/internal/scan"
)

// Put implements scan.Sink: it writes results of the span at hand. They are in the file, safe from whatever becomes of
// this process, when it returns.
func (j *Journal) Put(answers []probe.Result) error {
	if j == nil || len(answers) == 0 {
		return nil
	}
	if err := j.live(kindResult); err != nil {
		return err
	}
	end := j.end
	j.buf = j.buf[:0]
	for i := range answers {
		start := len(j.buf)
		j.buf, end.sum = seal(appendResult(j.buf, &answers[i]), start, end.sum)
	}
	end.lines += len(answers)
	return j.append(end)
}

// Mark writes how far the span at hand is. Of a span that is over it needs to be told no more.
func (j *Journal) Mark(m scan.Mark) error {
	if j == nil || j.told.over {
		return nil
	}
	if err := j.live(kindMark); err != nil {
		return err
	}
	j.told.add(&m)
	return j.write(kindMark, markLine{kindMark, m})
}

// live makes sure that the next line, of a kind that an earlier run cannot have, is one to be written.
func (j *Journal) live(kind string) error {
	if old, err := j.recorded(kind); err != nil {
		return err
	} else if old != nil {
		return j.other("another line of the kind %q", kind)
	}
	shape := j.shape
	if !shape.add(kind) {
		return j.misused(kind)
	}
	return nil
}

// write appends one line, and brings the file to the disk at the end of what can be lost together.
func (j *Journal) write(kind string, line any) error {
	if j.err != nil {
		return j.err
	}
	inSpan := j.shape.depth > 0 && j.shape.depth%2 == 0
	settled := !inSpan || j.shape.verified || j.told.over
	if !j.shape.add(kind) || !settled && (kind == kindStage || kind == kindSpanEnd) {
		return j.misused(kind)
	}
	b, err := appendObject(j.buf[:0], line)
	if err != nil {
		return j.fail("write", err)
	}
	end := j.end
	j.buf, end.sum = seal(b, 0, end.sum)
	end.lines++
	if err := j.append(end); err != nil {
		return err
	}
	if kind == kindHeader || kind == kindSpanEnd && j.shape.depth == 1 || kind == kindEnd {
		return j.sync()
	}
	return nil
}

// misused refuses a line where none of its kind can be: the program is wrong, and the file stays right.
func (j *Journal) misused(kind string) error {
	j.err = fmt.Errorf("%s cannot have a line of the kind %q here", j.path, kind)
	return j.err
}

// append writes what is in the buffer, behind which the file then ends.
func (j *Journal) append(end position) error {
	if j.err != nil {
		return j.err
	}
	if j.torn > 0 {
		if err := j.file.Truncate(j.end.offset); err != nil {
			return j.fail("write", err)
		}
		j.torn = 0
	}
	j.dirty = true
	if _, err := j.file.WriteAt(j.buf, j.end.offset); err != nil {
		return j.fail("write", err)
	}
	end.offset += int64(len(j.buf))
	j.end = end
	return nil
}

func (j *Journal) sync() error {
	if j.err != nil || !j.dirty {
		return j.err
	}
	if err := j.file.Sync(); err != nil {
		return j.fail("write", err)
	}
	j.dirty = false
	return nil
}

// fail notes the first failure, by the name that the user gave the file.
func (j *Journal) fail(doing string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if j.err == nil {
		j.err = fmt.Errorf("cannot %s the journal %s: %w", doing, j.path, err)
	}
	return j.err
}

// told is what the marks of a span have said so far. Each names the hosts only that none before it has named.
type told struct {
	over            bool
	limited, gaveUp hosts
}

// add takes a mark, and takes out of it what was told.
func (t *told) add(m *scan.Mark) {
	t.over = m.Pass == 0
	m.Limited, m.GaveUp = t.limited.add(m.Limited), t.gaveUp.add(m.GaveUp)
}

type hosts map[netip.Addr]bool

// add returns the addresses that are new.
func (h *hosts) add(addrs []netip.Addr) (fresh []netip.Addr) {
	if *h == nil && len(addrs) > 0 {
		*h = hosts{}
	}
	for _, a := range addrs {
		if !(*h)[a] {
			(*h)[a] = true
			fresh = append(fresh, a)
		}
	}
	return fresh
}

func (h hosts) all() []netip.Addr { return slices.SortedFunc(maps.Keys(h), netip.Addr.Compare) }
