package journal

import (
	"errors"
	"fmt"
)

// What is wrong with a file. The errors that wrap these begin with its name.
var (
	ErrExists    = errors.New("is not empty: it may hold the journal of another scan")
	ErrInUse     = errors.New("is the journal of a scan that runs now")
	ErrEmpty     = errors.New("holds no scan: the one that was to write it ended before it began")
	ErrNoJournal = errors.New("is no journal of a scan")
	ErrNewer     = errors.New("was written by another version of sonde")
	ErrOther     = errors.New("is the journal of another scan")
)

// A BrokenError says where a journal stops making sense. What comes before is whole: its first
// Offset bytes are a journal that can be resumed.
type BrokenError struct {
	Path   string
	Line   int   // from 1
	Offset int64 // where the line begins, in bytes
	Err    error // what is wrong with it
}

// Error names the file and the line.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("%s is damaged in line %d, which begins at byte %d: %v", e.Path, e.Line, e.Offset, e.Err)
}

// Unwrap returns what is wrong with the line.
func (e *BrokenError) Unwrap() error { return e.Err }
