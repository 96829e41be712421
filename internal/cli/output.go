package cli

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"sonde/internal/probe"
	"sonde/internal/report"
	"sonde/internal/scan"
	"sonde/internal/sock"
)

// outputs is -o FORMAT[=FILE], repeatable.
type outputs struct{ specs []string }

func (o *outputs) String() string { return strings.Join(o.specs, " ") }
func (o *outputs) Type() string   { return "FORMAT[=FILE]" }

// Set checks the format; whether two write to standard output is seen when all are known.
func (o *outputs) Set(text string) error {
	format, file, toFile := strings.Cut(text, "=")
	if known := report.Formats(); !slices.Contains(known, format) {
		last := len(known) - 1
		return fmt.Errorf("%q is no format; there are %s and %s", format, strings.Join(known[:last], ", "), known[last])
	}
	if toFile && file == "" {
		return fmt.Errorf("%q names no file", text)
	}
	if file == "-" {
		text = format // standard output, as elsewhere
	}
	o.specs = append(o.specs, text)
	return nil
}

// spare refuses outputs on whose way to their names the file in would be overwritten.
func (o *outputs) spare(in *os.File) error {
	for _, spec := range o.specs {
		_, name, toFile := strings.Cut(spec, "=")
		if toFile && hasName(in, behindLink(name)+partialSuffix) {
			return misuse(fmt.Errorf("%s is read, and would be overwritten: %s is written there until it is whole", in.Name(), name),
				"name another output, or rename "+in.Name())
		}
	}
	return nil
}

// spareName refuses outputs that are the file of that name, or stand there until they are whole. It need not be there yet.
func (o *outputs) spareName(in string) error {
	own, err := filepath.Abs(behindLink(in))
	if err != nil {
		return err
	}
	for _, spec := range o.specs {
		_, name, toFile := strings.Cut(spec, "=")
		if !toFile {
			continue
		}
		path, err := filepath.Abs(behindLink(name))
		if err != nil {
			return err
		}
		if path == own || path+partialSuffix == own {
			return misuse(fmt.Errorf("%s cannot be an output and the journal", name), "name another file for one of them")
		}
	}
	return nil
}

// A partialFile is an output file that does not have its name before it is whole: until then it
// is FILE.partial, which says so, and FILE keeps what it was.
type partialFile struct {
	*os.File
	name  string
	whole bool // there is nothing to rename: FILE is a device or a pipe
	fresh bool // this run made it
}

func createPartial(name string) (*partialFile, error) {
	if isStream(name) {
		return openWhole(name)
	}
	name = behindLink(name)
	mode := os.FileMode(0o666)
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("cannot write %s: it is a directory", name)
	case err == nil && !info.Mode().IsRegular():
		return openWhole(name)
	case err == nil:
		mode = info.Mode().Perm()
	}
	_, serr := os.Lstat(name + partialSuffix)
	f, err := openLocked(name+partialSuffix, mode)
	switch {
	case errors.Is(err, sock.ErrLocked):
		return nil, fmt.Errorf("cannot write %s: another output goes to it now", name)
	case err != nil:
		return nil, fmt.Errorf("cannot write: %w", err)
	}
	return &partialFile{File: f, name: name, fresh: serr != nil}, nil
}

// empty makes room: what an earlier run left behind is overwritten, what another run is writing now is not.
func (f *partialFile) empty() error {
	if f.whole {
		return nil
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// behindLink returns what a name leads to: a link keeps being one, and what it leads to is written.
func behindLink(name string) string {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		return target
	}
	target, err := os.Readlink(name)
	switch {
	case err != nil:
		return name
	case filepath.IsAbs(target):
		return target
	}
	return filepath.Join(filepath.Dir(name), target)
}

// openLocked opens a file that this process alone writes until it closes it. Between the opening and the
// locking another run may give the file its name and be done with it: then what was locked has another name, or none,
// and the next try opens a file of our own.
func openLocked(name string, mode os.FileMode) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, mode)
		if err != nil {
			return nil, err
		}
		if err := sock.Lock(f); err != nil {
			_ = f.Close()
			return nil, err
		}
		if hasName(f, name) {
			return f, nil
		}
		_ = f.Close()
	}
}

// hasName reports whether name still leads to f.
func hasName(f *os.File, name string) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(own, named)
}

const partialSuffix = ".partial"

// openWhole opens a device or a pipe, in whose place nothing may be put.
func openWhole(name string) (*partialFile, error) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot write: %w", err)
	}
	return &partialFile{File: f, name: name, whole: true}, nil
}

// isStream reports whether a name means a descriptor of this process, which may lead to an ordinary file.
func isStream(name string) bool {
	return name == "/dev/stdout" || name == "/dev/stderr" || strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/")
}

// finish gives the file its name and closes it.
func (f *partialFile) finish() error {
	if f.whole {
		return f.Close()
	}
	if err := f.Sync(); err != nil { // what cannot be stored does not take the name
		_ = f.Close()
		return err
	}
	return f.last(func() error { return os.Rename(f.Name(), f.name) })
}

// discard takes back a file to which nothing was written. What an earlier run left stays.
func (f *partialFile) discard() {
	if f.whole || !f.fresh {
		_ = f.Close()
		return
	}
	_ = f.last(func() error { return os.Remove(f.Name()) })
}

// last does something with FILE.partial and closes it: in this order, so that it is not another's that has
// locked it meanwhile. Windows neither renames nor removes what is open.
func (f *partialFile) last(do func() error) error {
	if runtime.GOOS == "windows" {
		if err := f.Close(); err != nil {
			return err
		}
		return do()
	}
	if err := do(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// A tee is all the reports of a scan. One that cannot be written any more is left out from then on.
type tee struct{ outputs []*output }

type output struct {
	report.Report // from begin on
	make          func() report.Report
	file          *partialFile // nil for standard output
	failed        bool
}

// open opens what -o asked for, all of it before anything is sent.
func (o *outputs) open(stdout io.Writer, options report.Options) (*tee, error) {
	specs := o.specs
	if len(specs) == 0 {
		specs = []string{"text"}
	}
	t := &tee{}
	toStdout := 0
	for _, spec := range specs {
		format, name, toFile := strings.Cut(spec, "=")
		w, opts, out := stdout, options, &output{}
		if toFile {
			f, err := createPartial(name)
			if err != nil {
				t.discard()
				return nil, failure(err, "nothing was scanned; name a file that can be written")
			}
			w, opts.Color, out.file = f, false, f
		} else if toStdout++; toStdout > 1 {
			t.discard()
			return nil, misuse(errors.New("two outputs cannot share standard output"), "send one to a file: -o json=scan.json")
		}
		out.make = func() report.Report {
			r, _ := report.New(format, w, opts) // Set knows the formats
			return r
		}
		t.outputs = append(t.outputs, out)
	}
	return t, nil
}

// begin empties the files and begins the reports: from here on what earlier runs left in them is gone.
func (t *tee) begin() error {
	for _, out := range t.outputs {
		if out.file != nil {
			if err := out.file.empty(); err != nil {
				return failure(err)
			}
		}
		out.Report = out.make()
	}
	return nil
}

// discard takes back files to which nothing was written.
func (t *tee) discard() {
	for _, out := range t.outputs {
		if out.file != nil {
			out.file.discard()
		}
	}
}

// Put implements scan.Sink.
func (t *tee) Put(answers []probe.Result) error {
	return t.each(func(out *output) error { return out.Put(answers) })
}

func (t *tee) span(hosts uint64, each iter.Seq[scan.Host]) error {
	return t.each(func(out *output) error { return out.Span(hosts, each) })
}

// close ends the reports, and gives the files their names if they are whole. What could not be
// written to its end, or came of a scan that did not run to its end, stays FILE.partial.
func (t *tee) close(total scan.Summary, whole bool) error {
	err := t.each(func(out *output) error { return out.Close(total) })
	for _, out := range t.outputs {
		if out.file == nil {
			continue
		}
		finish := out.file.finish
		if out.failed || !whole {
			finish = out.file.Close
		}
		if ferr := finish(); err == nil {
			err = ferr
		}
	}
	return err
}

// leftPartial names the files that stayed partial, for a user to find them.
func (t *tee) leftPartial() string {
	var names []string
	for _, out := range t.outputs {
		if out.file != nil && !out.file.whole {
			names = append(names, out.file.Name())
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; it is in " + strings.Join(names, ", ")
}

// each does something with every report that has not failed, and returns the first error.
func (t *tee) each(do func(*output) error) (first error) {
	for _, out := range t.outputs {
		if out.failed {
			continue
		}
		if err := do(out); err != nil {
			out.failed = true
			if first == nil {
				first = err
			}
		}
	}
	return first
}
