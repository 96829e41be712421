package cli

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/spf13/cobra"

	"sonde/internal/echo"
)

// faultFlags say what a server does wrong on purpose.
type faultFlags struct {
	list string
	seed uint64
}

func (f *faultFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.list, "fault", "", "do wrong on purpose what `LIST` says, to test clients: delay=50ms,corrupt=1e-6 over both; "+
		"reset-after=1MB,slice=7 over TCP; loss=1%,dup=1%,reorder=1% over UDP")
	flags.Uint64Var(&f.seed, "seed", 0, "draw the faults from `N`, so that a run can be repeated (default: drawn, and told)")
}

// faults reads the flags: nil if none are wanted.
func (f *faultFlags) faults(cmd *cobra.Command, tcp, udp bool) (*echo.Faults, error) {
	seeded := cmd.Flags().Changed("seed")
	if !cmd.Flags().Changed("fault") {
		if seeded {
			return nil, misuse(errors.New("--seed is about the faults of --fault, and there are none"), "say which: --fault loss=1% --seed 7")
		}
		return nil, nil
	}
	faults, err := echo.ParseFaults(f.list)
	if err != nil {
		return nil, badFault(err)
	}
	for _, side := range [...]struct {
		proto, other string
		served       bool
	}{{"tcp", "udp", tcp}, {"udp", "tcp", udp}} {
		if names := faults.Only(side.proto); len(names) > 0 && !side.served {
			return nil, misuse(fmt.Errorf("%s can happen over %s only, which is not served", strings.Join(names, ", "), strings.ToUpper(side.proto)),
				fmt.Sprintf("leave it out, or serve %s too", strings.ToUpper(side.proto)))
		}
	}
	if faults.Seed = f.seed; !seeded {
		faults.Seed = rand.Uint64()
	}
	return faults, nil
}

// badFault refuses what --fault says, and suggests the nearest word that there is.
func badFault(err error) error {
	hint := "write for example --fault delay=50ms,loss=1%"
	var unknown *echo.UnknownFaultError
	if errors.As(err, &unknown) {
		if near, ok := nearest(unknown.Name, echo.FaultNames()); ok {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
	}
	return misuse(fmt.Errorf("--fault: %w", err), hint)
}

// tellFaults says at the start what will be done wrong, how to have it again, and to what it does not happen of that which is served.
func (a *app) tellFaults(f *echo.Faults, tcp, udp bool) {
	a.note("faults on purpose: %v; the same again: --seed %d", f, f.Seed)
	if names := f.Only("udp"); len(names) > 0 && tcp {
		a.note("note: %s: over UDP only, TCP is a stream of bytes", strings.Join(names, ", "))
	}
	if names := f.Only("tcp"); len(names) > 0 && udp {
		a.note("note: %s: over TCP only", strings.Join(names, ", "))
	}
}

// faultsDone says at the end what was done wrong, if anything.
func (a *app) faultsDone(f *echo.Faults) {
	var words []string
	for _, c := range [...]struct {
		n    uint64
		what string
		did  string
	}{
		{f.Done.Lost.Load(), "datagram", "lost"}, {f.Done.Doubled.Load(), "datagram", "doubled"}, {f.Done.Reordered.Load(), "datagram", "reordered"},
		{f.Done.Overflowed.Load(), "datagram", "dropped, too many were delayed"},
		{f.Done.Corrupted.Load(), "byte", "changed"}, {f.Done.Resets.Load(), "connection", "reset"},
	} {
		if c.n > 0 {
			words = append(words, quantity(c.n, c.what)+" "+c.did)
		}
	}
	if len(words) > 0 {
		a.note("faults on purpose: %s", strings.Join(words, ", "))
	}
}
