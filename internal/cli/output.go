package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sonde/internal/probe"
	"sonde/internal/report"
	"sonde/internal/scan"
)

// outputs is -o FORMAT[=FILE], repeatable.
type outputs struct{ specs []string }

func (o *outputs) String() string { return strings.Join(o.specs, " ") }
func (o *outputs) Type() string   { return "FORMAT[=FILE]" }

// Set checks the format; whether two write to standard output is seen when all are known.
func (o *outputs) Set(text string) error {
	format, file, toFile := strings.Cut(text, "=")
	if format != "text" && format != "json" {
		return fmt.Errorf("%q is no format; there are text and json", format)
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

// A partialFile is an output file that does not have its name before it is whole: until then it
// is FILE.partial, which says so, and FILE keeps what it was.
type partialFile struct {
	*os.File
	name  string
	whole bool // there is nothing to rename: FILE is a device or a pipe
}

func createPartial(name string) (*partialFile, error) {
	if isStream(name) {
		return openWhole(name)
	}
	// A link keeps being one: what it leads to is written.
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	} else if target, err := os.Readlink(name); err == nil {
		name = filepath.Join(filepath.Dir(name), target)
		if filepath.IsAbs(target) {
			name = target
		}
	}
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
	f, err := os.OpenFile(name+partialSuffix, os.O_WRONLY|os.O_CREATE, mode)
	if err != nil {
		return nil, fmt.Errorf("cannot write: %w", err)
	}
	// What an earlier run left behind is overwritten; what another run is writing now is not.
	if err := lock(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot write %s: another output goes to it now", name)
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot write: %w", err)
	}
	return &partialFile{File: f, name: name}, nil
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

// finish closes the file and gives it its name.
func (f *partialFile) finish() error {
	if err := f.Close(); err != nil {
		return err
	}
	if f.whole {
		return nil
	}
	return os.Rename(f.Name(), f.name)
}

// A tee is all the reports of a scan. One that cannot be written any more is left out from then on.
type tee struct{ outputs []*output }

type output struct {
	report.Report
	file   *partialFile // nil for standard output
	failed bool
}

// open makes the reports that -o asked for, all of them before anything is sent.
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
		if format == "json" {
			out.Report = report.NewJSON(w, opts)
		} else {
			out.Report = report.NewText(w, opts)
		}
		t.outputs = append(t.outputs, out)
	}
	return t, nil
}

// discard takes back files to which nothing was written.
func (t *tee) discard() {
	for _, out := range t.outputs {
		if out.file != nil {
			_ = out.file.Close()
			if !out.file.whole {
				_ = os.Remove(out.file.Name())
			}
		}
	}
}

// Put implements scan.Sink.
func (t *tee) Put(answers []probe.Result) error {
	return t.each(func(out *output) error { return out.Put(answers) })
}

func (t *tee) span(s *scan.Summary) error {
	return t.each(func(out *output) error { return out.Span(s) })
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
