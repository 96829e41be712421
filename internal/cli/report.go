package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sonde/internal/report"
	"sonde/internal/sock"
)

// A reporter is the report command with its flags.
type reporter struct {
	*app
	out      outputs
	openOnly bool
	reason   bool
	failOn   failOn
}

func (a *app) reportCommand() *cobra.Command {
	r := &reporter{app: a}
	cmd := &cobra.Command{
		Use:   "report [flags] FILE…",
		Short: "Join what scans found, and write it in another format",
		Long: `Read what 'sonde scan -o json' wrote, join it, and write it in any format.

The files may be of the shards of a scan, of a scan that was interrupted and of its rest, or of several
scans; - is standard input. Of each port the better knowledge counts: open beats every
other answer, an answer beats silence, silence beats no verdict. In the totals each port counts once;
probes and times add up.

A file without a summary is not whole: it is used, and the result is marked as incomplete.

Exit codes: 0 done; 1 a file could not be read, or is no JSON output of a scan; 2 misused;
6 a port is in the state that --fail-on names.`,
		Example: `  sonde report scan.json -o xml=scan.xml -o text
  sonde report shard-1.json shard-2.json -o json=whole.json
  sonde report --open -o csv *.json`,
		RunE:                  func(_ *cobra.Command, files []string) error { return r.run(files) },
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.VarP(&r.out, "output", "o", "write text, json, csv, xml (nmap's) or grep (nmap's), to standard output or to a file; may be repeated (default text)")
	f.BoolVar(&r.openOnly, "open", false, "show open ports only")
	f.BoolVar(&r.reason, "reason", false, "show all that is known of how each verdict came about")
	f.Var(&r.failOn, "fail-on", "exit with code 6 if any port is in this `STATE`: open or closed")
	return cmd
}

// run reads everything before it writes anything.
func (r *reporter) run(files []string) error {
	if len(files) == 0 {
		return misuse(errors.New("no file given"), "name what a scan wrote: sonde scan localhost -o json=scan.json, then sonde report scan.json")
	}
	var m report.Merge
	for _, name := range files {
		if err := r.read(&m, name); err != nil {
			return err
		}
	}
	for _, text := range m.Warnings() {
		r.warn("%s", text)
	}
	out, err := r.out.open(r.app.out, r.options(&m))
	if err != nil {
		return err
	}
	if err := out.begin(); err != nil {
		out.discard()
		return err
	}
	err = m.Write(out, out.span)
	if cerr := out.close(m.Summary(), err == nil); err == nil {
		err = cerr
	}
	switch {
	case errors.Is(err, sock.ErrBrokenPipe) && out.leftPartial() == "": // the reader has had enough
	case err != nil:
		return failure(err)
	}
	return r.failOn.check(m.Summary())
}

func (r *reporter) read(m *report.Merge, name string) error {
	in, what := r.in, name
	if name == "-" {
		what = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return failure(fmt.Errorf("cannot read: %w", err))
		}
		defer f.Close()
		in = f
		if err := r.out.spare(f); err != nil {
			return err
		}
	}
	err := m.Read(what, in)
	var system *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &system):
		return failure(fmt.Errorf("cannot read: %w", err))
	}
	return failure(err, "sonde report reads what 'sonde scan -o json' writes")
}

func (r *reporter) options(m *report.Merge) report.Options {
	begun := m.Scan()
	if begun.Args == nil {
		begun.Args = r.args
	}
	return report.Options{
		OpenOnly: r.openOnly, Verbose: r.verbose, Reason: r.reason, Names: m.Names(), Scan: begun,
		Color: term.IsTerminal(int(r.app.out.Fd())) && os.Getenv("NO_COLOR") == "",
	}
}
