package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The words a user is told when something fails. The rules for them:
//
//   - One line `sonde: error: …` says what happened and to what, in lower case and without a stop.
//   - Each line `sonde: hint: …` under it gives one next step, a command where there is one.
//   - Never a stack trace, never an errno alone, never "invalid argument".

// Exit codes that are not a conversation's.
const (
	exitFailed      = 1
	exitMisused     = 2
	exitInterrupted = 130
)

// An exitError ends the program with its code. A nil err says that all was told already.
type exitError struct {
	code  int
	err   error
	hints []string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith ends the program with a code and without another word.
func exitWith(code int) error { return &exitError{code: code} }

// misuse refuses what the user typed: exit 2, nothing was sent.
func misuse(err error, hints ...string) error {
	return &exitError{code: exitMisused, err: err, hints: hints}
}

// failure is what went wrong in doing what was asked: exit 1.
func failure(err error, hints ...string) error {
	return &exitError{code: exitFailed, err: err, hints: hints}
}

// exit tells the user of err and returns the exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return 0
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{code: exitFailed, err: err}
	}
	if e.err != nil {
		fmt.Fprintf(a.stderr(), "sonde: error: %v\n", e.err)
	}
	for _, hint := range e.hints {
		fmt.Fprintf(a.stderr(), "sonde: hint: %s\n", hint)
	}
	return e.code
}

// flagError words pflag's refusals and suggests the nearest flag that exists.
func flagError(cmd *cobra.Command, err error) error {
	hint := fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	var number *strconv.NumError
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		if errors.As(err, &number) {
			return misuse(fmt.Errorf("--%s %s: this is no number that can stand there", invalid.GetFlag().Name, invalid.GetValue()), hint)
		}
		return misuse(fmt.Errorf("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap()), hint)
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near, ok := nearest(unknown.GetSpecifiedName(), names); ok {
			hint = fmt.Sprintf("did you mean --%s? see '%s --help'", near, cmd.CommandPath())
		}
	}
	return misuse(err, hint)
}

// noSuchCommand refuses the words that root cannot run, and suggests the nearest command.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	hint := "see 'sonde --help'"
	if near, ok := nearest(args[0], names); ok {
		hint = fmt.Sprintf("did you mean 'sonde %s'? see 'sonde --help'", near)
	}
	return misuse(fmt.Errorf("unknown command %q", args[0]), hint)
}

// nearest returns the candidate that word is a slip of the finger away from: an edit
// distance (Levenshtein's, a swap of neighbours counting one) of at most a third of its
// length, and at least one. Of several as near it is the first.
func nearest(word string, candidates []string) (string, bool) {
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best, best != ""
}

func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
