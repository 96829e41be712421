package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"sonde/internal/journal"
)

// resumable are the flags that may be given anew with --resume: those that change neither what is asked nor what is
// found, only how fast, how long and where the results go.
var resumable = []string{"resume", "output", "open", "reason", "fail-on", "rate", "engine", "concurrency", "max-time", "quiet", "verbose"}

// goOn goes on with the scan of a journal: the command that it was started with, as far as flags given now do not change it.
func (s *scanner) goOn(flags *pflag.FlagSet) error {
	var again []string
	var unfit error
	flags.Visit(func(f *pflag.Flag) {
		switch {
		case !slices.Contains(resumable, f.Name):
			unfit = fmt.Errorf("--%s cannot be changed: the journal says what is scanned and how", f.Name)
		case f.Name != "resume" && f.Name != "output":
			again = append(again, fmt.Sprintf("--%s=%s", f.Name, f.Value))
		}
	})
	if len(s.hosts) > 0 {
		unfit = errors.New("a target cannot be given: the journal says what is scanned")
	}
	if unfit != nil {
		return misuse(unfit, "sonde scan --resume "+s.resume)
	}
	if err := s.out.spareName(s.resume); err != nil {
		return err
	}
	j, err := journal.Resume(s.resume)
	if err != nil {
		return journalError(err, s.resume)
	}
	defer j.Close()
	if n := j.Torn(); n > 0 {
		s.note("the last record of %s was not written whole and is left out (%s)", s.resume, quantity(uint64(n), "byte"))
	}
	a := *s.app
	a.resumed, a.resumedTo = j, s.out.specs
	root := a.root()
	root.SetArgs(append(slices.Clone(j.Header().Args), again...))
	return root.Execute()
}

// remember returns what the first run found.
func (s *scanner) remember() *found {
	h := s.resumed.Header()
	s.seed = h.Seed
	f := &found{local: h.Local, public: h.Public, names: h.Names}
	for _, text := range h.Unresolved {
		f.unresolved = append(f.unresolved, errors.New(text))
	}
	if len(s.resumedTo) > 0 {
		s.out.specs = s.resumedTo
		return f
	}
	for i, spec := range s.out.specs { // what was relative is so to where the scan was started
		if format, name, toFile := strings.Cut(spec, "="); toFile && !filepath.IsAbs(name) {
			s.out.specs[i] = format + "=" + filepath.Join(h.Dir, name)
		}
	}
	return f
}

// keep begins the journal of a scan, or goes on with the one that is resumed. Without --journal it returns nil, which keeps nothing.
func (s *scanner) keep(f *found) (*journal.Journal, error) {
	if s.resumed != nil || s.journal == "" {
		return s.resumed, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, failure(fmt.Errorf("find the working directory: %w", err))
	}
	h := journal.Header{Version: version(), Args: s.args, Dir: dir, Start: s.started, Seed: s.seed, Local: f.local, Public: f.public, Names: f.names}
	for _, err := range f.unresolved {
		h.Unresolved = append(h.Unresolved, err.Error())
	}
	j, err := journal.Create(s.journal, h)
	if err != nil {
		return nil, journalError(err, s.journal)
	}
	return j, nil
}

// journalError says what is to be done about a failure that may be a journal's: one that cannot be used, or written to any more.
func journalError(err error, name string) error {
	var broken *journal.BrokenError
	switch {
	case name == "":
		return failure(err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return failure(err, "nothing was scanned; name a file that can be written")
	case errors.Is(err, syscall.ENOSPC):
		return failure(err, "make room and go on: sonde scan --resume "+name)
	case errors.Is(err, journal.ErrOther):
		return failure(err, "go on with it by the version and on the machine that wrote it")
	case errors.Is(err, journal.ErrExists):
		return failure(err, "go on with that scan: sonde scan --resume "+name, "or name another file")
	case errors.Is(err, journal.ErrInUse):
		return failure(err, "wait for it, or name another file")
	case errors.Is(err, journal.ErrEmpty):
		return failure(err, "start the scan again: sonde scan --journal "+name+" …")
	case errors.Is(err, journal.ErrNoJournal):
		return failure(err, "a journal is what 'sonde scan --journal FILE' writes")
	case errors.Is(err, journal.ErrNewer):
		return failure(err, "resume it with that version")
	case errors.As(err, &broken):
		return failure(err, fmt.Sprintf("what comes before is whole: 'head -c %d %s >copy' and resume the copy", broken.Offset, name))
	}
	return failure(err)
}
