// Package journal keeps a scan on disk while it runs, so that it can go on where it was killed.
//
// A journal is a file of JSON lines, one for each thing that happened, in order: a header, then stages
// (a plan each), in them spans, in those results, marks of how far the span is, and the stages that verify what it
// found. Each line ends with a checksum of all lines up to it, so a line that was changed, lost or
// put in is noticed. A file is only ever appended to, with one write for what is given at once: what a kill leaves is a
// journal up to some line, and perhaps a torn piece of the next.
//
// A scan walks through its journal: it says which stage it begins, which span, what was found, what is over. On
// a new journal each word is written. On one that is resumed the words meet those of the earlier run, which
// are given back instead, until there are no more; from then on they are written. So the program of a resumed
// scan is that of any scan, and a resumed journal can be resumed again.
//
// A nil *Journal keeps nothing: its methods do nothing. One goroutine uses a journal.
package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"
	"unicode/utf8"

	"sonde/internal/sock"
	"sonde/internal/target"
)

// format is the version of what is written. It is raised when a line changes its meaning; that the order in which
// a plan probes has changed is noticed by itself.
const format = 1

// A Header says of what scan a journal is: all that a later run cannot find out again.
type Header struct {
	Version    string                `json:"version"`              // of the program
	Args       []string              `json:"args"`                 // the command as typed, without the program's name
	Dir        string                `json:"dir,omitempty"`        // the working directory: what relative names in Args start from
	Start      time.Time             `json:"start"`                // of the first run
	Seed       uint64                `json:"seed"`                 // of the scan; each stage has its own
	Local      target.Space          `json:"local"`                // what was found to scan, before it is known who is there
	Public     target.Space          `json:"public"`               // the same, of public addresses
	Names      map[netip.Addr]string `json:"names,omitempty"`      // what the user called an address
	Unresolved []string              `json:"unresolved,omitempty"` // names without an address
}

// A Journal is the journal of one scan, open and locked. Its owner closes it.
type Journal struct {
	file   *os.File
	path   string // as the user gave it
	header Header

	shape shape    // what the lines up to end make up
	end   position // where the next line is appended
	torn  int64    // bytes behind it, of a line that was not written whole
	old   *walk    // what an earlier run wrote and this one has not come to; nil when there is no more
	told  told     // of the span at hand
	buf   []byte   // lines on their way to the file
	dirty bool     // written since the last sync
	err   error    // the first failure: nothing is written after it
}

// Create begins the journal of a new scan. It refuses a file that is not empty (ErrExists) and one in use (ErrInUse).
func Create(path string, h Header) (*Journal, error) {
	for _, arg := range append([]string{h.Dir}, h.Args...) {
		if !utf8.ValidString(arg) {
			return nil, fmt.Errorf("%q is not UTF-8 and cannot be kept in a journal", arg)
		}
	}
	f, size, err := open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if size > 0 && !begunOnly(f, size) {
		_ = f.Close()
		return nil, fmt.Errorf("%s %w", path, ErrExists)
	}
	j := &Journal{file: f, path: path, header: h, torn: size}
	if err := j.write(kindHeader, headerLine{kindHeader, format, h}); err != nil {
		_ = f.Truncate(0) // it held nothing, and does again
		_ = f.Close()
		return nil, err
	}
	return j, nil
}

// begunOnly reports whether a file holds no more than a piece of a header: its scan ended before it began.
func begunOnly(f io.ReaderAt, size int64) bool {
	_, err := check(f, size, "")
	return errors.Is(err, ErrEmpty)
}

// Resume opens the journal of a scan that did not come to its end, or that did: it can be walked through in either
// case, and gone on with in the first. Everything in it is checked before Resume returns. A last line that was not
// written whole is left out (see Torn); whatever else is wrong is an error, and the file stays as it is.
func Resume(path string) (*Journal, error) {
	f, size, err := open(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	found, err := check(f, size, path)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Journal{
		file: f, path: path, header: found.header, shape: found.shape,
		end: found.end, torn: size - found.end.offset,
		old: newWalk(f, found.first, found.end.offset),
	}, nil
}

// open opens and locks a file, and tells its size.
func open(path string, flag int) (*os.File, int64, error) {
	f, err := os.OpenFile(path, flag, 0o666)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot open the journal: %w", err)
	}
	size, err := lock(f, path)
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func lock(f *os.File, path string) (size int64, err error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s cannot be a journal: it is no ordinary file", path)
	}
	if err == nil {
		err = sock.Lock(f)
	}
	if errors.Is(err, sock.ErrLocked) {
		return 0, fmt.Errorf("%s %w", path, ErrInUse)
	}
	if err == nil {
		info, err = f.Stat() // again: it may have grown until it was ours
	}
	if err != nil {
		return 0, fmt.Errorf("cannot lock the journal %s: %w", path, err)
	}
	return info.Size(), nil
}

// Header returns what the journal was created with.
func (j *Journal) Header() Header {
	if j == nil {
		return Header{}
	}
	return j.header
}

// Path returns the file's name as the user gave it; empty for a nil Journal.
func (j *Journal) Path() string {
	if j == nil {
		return ""
	}
	return j.path
}

// Finished reports whether the scan had come to its end when the journal was opened, or has since: there is
// nothing to add to it.
func (j *Journal) Finished() bool { return j != nil && j.shape.over }

// Torn returns how many bytes at the file's end were the beginning of a line that was never written whole.
// They are cut off before anything is appended.
func (j *Journal) Torn() int64 {
	if j == nil {
		return 0
	}
	return j.torn
}

// Close brings what was written to the disk and closes the file. A scan that did not come to its end can be resumed.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	err := j.sync()
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	if cerr := j.file.Close(); err == nil && cerr != nil {
		err = j.fail("close", cerr)
	}
	return err
}
