package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"sonde/internal/sock"
)

// A doctor is the doctor command with its flags.
type doctor struct {
	*app
	selection
	output string
}

func (a *app) doctorCommand() *cobra.Command {
	d := &doctor{app: a}
	cmd := &cobra.Command{
		Use:   "doctor [flags] [TARGET…]",
		Short: "Tell what this machine can do, and what mends each lack",
		Long: `Tell what this machine can do for a scan: its privileges, its kernel, its interfaces, its limits, and the way to
each TARGET. It sends nothing, not even to find out the link address of a neighbour; the name of a target is resolved
as for a scan, though.

Each line says ok, lack or note. Under a lack is the command that mends it, ready to be pasted; a note
is worth knowing, and no command here changes it. Nothing that is lacked is needed by a scan by connect or udp,
by talk, echo or listen: these need no privileges.

A TARGET is a name, an address, a prefix or a range; of a prefix or a range it is the way to one of its first addresses.

Exit codes: 0 told, whatever is lacked; 1 a TARGET has no route, or could not be resolved; 2 misused.`,
		Example: `  sonde doctor
  sonde doctor db.example 10.0.0.0/16
  sonde doctor -o json | jq -r 'select(.status == "lack") | .command'`,
		RunE:                  func(_ *cobra.Command, targets []string) error { return d.run(targets) },
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&d.only4, "ipv4", "4", false, "IPv4 only")
	f.BoolVarP(&d.only6, "ipv6", "6", false, "IPv6 only")
	f.StringVarP(&d.output, "output", "o", "text", "write text or json, one object a line: `FORMAT`")
	return cmd
}

func (d *doctor) run(targets []string) error {
	switch {
	case d.output != "text" && d.output != "json":
		return misuse(fmt.Errorf("output %q is not known", d.output), "write -o text or -o json")
	case d.only4 && d.only6:
		return misuse(errors.New("-4 and -6 exclude each other"), "leave both out for both families")
	}
	ctx, stop := endedBySignal(context.Background())
	defer stop()
	patients, unresolved, err := d.patients(ctx, targets)
	if err != nil {
		return signalOr(context.Cause(ctx), err)
	}
	m := examine()
	all := []findings{m.privilegeFindings(), m.kernelFindings(), m.interfaceFindings(), readLimits().findings(m)}
	ways, lost := m.wayFindings(patients)
	if err := d.print(append(all, ways...)); err != nil && !errors.Is(err, sock.ErrBrokenPipe) {
		return failure(err)
	}
	if unresolved || lost {
		return exitWith(exitFailed)
	}
	return nil
}

// The words for how things are.
const (
	isOK   = "ok"
	isLack = "lack" // a command mends it
	isNote = "note" // no command here changes it
)

// A finding is one line of what is told.
type finding struct {
	Group   string `json:"group"`
	Name    string `json:"name"`
	Status  string `json:"status"`
	Finding string `json:"finding"`
	Command string `json:"command,omitempty"` // mends a lack
}

// findings are those of one group.
type findings struct {
	group string
	all   []finding
}

func (f *findings) ok(name, format string, args ...any) { f.add(name, isOK, "", format, args...) }

func (f *findings) note(name, format string, args ...any) { f.add(name, isNote, "", format, args...) }

func (f *findings) lack(name, command, format string, args ...any) {
	f.add(name, isLack, command, format, args...)
}

func (f *findings) add(name, status, command, format string, args ...any) {
	f.all = append(f.all, finding{f.group, name, status, fmt.Sprintf(format, args...), command})
}

// print writes all in one piece.
func (d *doctor) print(groups []findings) error {
	var out bytes.Buffer
	write := writeTable
	if d.output == "json" {
		write = writeJSON
	}
	if err := write(&out, groups); err != nil {
		return err
	}
	_, err := d.out.Write(out.Bytes())
	return err
}

func writeJSON(out *bytes.Buffer, groups []findings) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, group := range groups {
		for _, f := range group.all {
			if err := encoder.Encode(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeTable(out *bytes.Buffer, groups []findings) error {
	width := 0
	for _, group := range groups {
		for _, f := range group.all {
			width = max(width, utf8.RuneCountInString(f.Name))
		}
	}
	for _, group := range groups {
		if len(group.all) > 0 {
			fmt.Fprintln(out, group.group)
		}
		for _, f := range group.all {
			fmt.Fprintf(out, "  %-4s  %-*s  %s\n", f.Status, width, f.Name, f.Finding)
			if f.Command != "" {
				fmt.Fprintf(out, "        %s\n", f.Command)
			}
		}
	}
	return nil
}
