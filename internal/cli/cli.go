// Package cli is sonde as people meet it: one file per command, each turning flags
// into values and values into one call.
//
// Main is the only door. Nothing below it prints or exits: commands return errors, and
// Main alone gives them words (errors.go) and an exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sonde/internal/journal"
)

// An app is one run of the program: its streams and the flags that every command has.
type app struct {
	in       *os.File
	out, err *os.File
	log      io.Writer // err, of a command that may not wait for its reader for ever; nil: err itself
	quiet    bool      // no progress, no notes, no log; errors and results remain
	verbose  bool
	args     []string // as typed, without the program's name

	resumed   *journal.Journal // of the scan that goes on, if this is to go on with one
	resumedTo []string         // its outputs, where they are given anew
}

// Main runs sonde with args, the program's name left out, and returns its exit code:
// 0 done, 1 failed, 2 misused, 130 interrupted; a conversation's own are in talk.go.
func Main(args []string, in, out, errOut *os.File) int {
	signal.Ignore(syscall.SIGPIPE) // a reader of ours that goes away is an error of the write, not our death
	a := &app{in: in, out: out, err: errOut, args: args}
	root := a.root()
	root.SetArgs(args)
	return a.exit(root.Execute())
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:                   "sonde COMMAND",
		DisableFlagsInUseLine: true,
		Short:                 "Find out what a network really does between here and there",
		Long: `Sonde finds out what a network really does between here and there.

It scans ports, talks to servers, answers as one, and says what it saw and how it knows.`,
		Version:       version(),
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress, notes or log; results and errors only")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "say more")
	root.SetHelpCommand(helpCommand())
	root.AddCommand(a.scanCommand(), a.reportCommand(), a.echoCommand(), a.talkCommand(), a.pingCommand(), a.listenCommand(), a.doctorCommand())
	return root
}

// helpCommand is cobra's, but that it refuses what is no command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND]",
		Short:                 "Tell about a command",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noSuchCommand(cmd.Root(), args)
			}
			return about.Help()
		},
	}
}

// warn tells of something that went wrong without ending the command.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.stderr(), "sonde: warning: "+format+"\n", args...)
}

// note tells of a decision the user may want to know; -q silences it.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.stderr(), "sonde: "+format+"\n", args...)
	}
}

// stderr is where words for the user go.
func (a *app) stderr() io.Writer {
	if a.log != nil {
		return a.log
	}
	return a.err
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// untilSignal returns a context that SIGINT or SIGTERM ends, with errInterrupted as its
// cause. A second signal has its default effect: it kills.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-done:
		}
		signal.Stop(signals)
	}()
	var stopped bool
	return ctx, func() {
		if !stopped {
			stopped = true
			close(done)
			cancel(nil)
		}
	}
}
